//! The settings of a client.

use std::{collections::HashMap, sync::Arc};

use crate::{pipeline::Shared, upstream::Router};

/// The settings of a client that a new configuration replaces as a whole.
pub(crate) struct Settings {
    pub(crate) router: Arc<Router>,
    /// The models to try if another fails, by its name (rule F2).
    pub(crate) fallbacks: HashMap<Arc<str>, Vec<Arc<str>>>,
    pub(crate) shared: Arc<Shared>,
}
