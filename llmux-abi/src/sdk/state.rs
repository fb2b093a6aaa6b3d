//! The state of an instance for one request. `handle` keeps it in the host's slot; plugins read it by `Context::state`.

use std::any::Any;

/// One value of each type that the instance requested.
#[derive(Default)]
pub(crate) struct State(Vec<Box<dyn Any + Send>>);

impl State {
    /// Returns the value of a type, made by `Default` on first use.
    pub(crate) fn get<T: Default + Send + 'static>(&mut self) -> &mut T {
        let Self(values) = self;
        let at = values.iter().position(|value| value.is::<T>()).unwrap_or_else(|| {
            values.push(Box::new(T::default()));
            values.len() - 1
        });
        values[at].downcast_mut().expect("the value was found by its type")
    }
}
