//! Hooks that a plugin does not implement: the futures that the trait's defaults return, and the test for them.
//!
//! A hook that the plugin does not implement is an empty field in the table, and the host never calls it. The
//! defaults of [`Plugin`](crate::Plugin) return [`Absent`], a future of size 0 with an alignment that no other future
//! has. The table recognizes it at compile time. The address of a function cannot identify it, since the compiler may
//! merge equal functions. The size alone cannot either, since a plugin may implement a future of size 0.
//!
//! A hook that returns the future of another plugin's default looks like a default, too. A plugin that wraps another one
//! therefore sets [`Plugin::EVERY_HOOK`](crate::Plugin::EVERY_HOOK).
//!
//! Deliberately absent: any knowledge of what the hooks do.
//!
//! # Soundness
//!
//! [`AsPreHook`] pins its one field with itself and has no `Drop`.

#![allow(unsafe_code)]

use std::{
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use super::{
    error::Result,
    flow::{ChunkFlow, Flow, StreamFlow, TextFlow, ToolFlow, Verdict},
};

/// The future of a hook that a plugin does not implement: ready at once, with the answer that does nothing.
///
/// A plugin that wraps another plugin may call such a hook. Only the table omits it.
pub(crate) struct Absent<T>(Mark, PhantomData<fn() -> T>);

#[repr(align(512))]
struct Mark;

impl<T> Absent<T> {
    pub(crate) fn new() -> Self {
        Self(Mark, PhantomData)
    }
}

impl<T: Idle> Future for Absent<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        Poll::Ready(T::idle())
    }
}

/// The answer that does nothing.
pub(crate) trait Idle {
    fn idle() -> Self;
}

impl Idle for () {
    fn idle() {}
}

impl Idle for Result<()> {
    fn idle() -> Self {
        Ok(())
    }
}

impl Idle for Result<Flow> {
    fn idle() -> Self {
        Ok(Flow::Continue)
    }
}

impl Idle for Result<ChunkFlow> {
    fn idle() -> Self {
        Ok(ChunkFlow::Forward)
    }
}

impl Idle for Result<TextFlow> {
    fn idle() -> Self {
        Ok(TextFlow::Continue)
    }
}

impl Idle for Result<ToolFlow> {
    fn idle() -> Self {
        Ok(ToolFlow::Continue)
    }
}

impl Idle for Result<Verdict> {
    fn idle() -> Self {
        Ok(Verdict::Allow)
    }
}

/// `pre_hook`, called instead of `pre_stream_hook`. Absent if `pre_hook` is absent.
#[repr(transparent)]
pub(crate) struct AsPreHook<F>(pub(crate) F);

impl<F: Future<Output = Result<Flow>>> Future for AsPreHook<F> {
    type Output = Result<StreamFlow>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the one field is pinned with `self`: nothing moves it, and there is no `Drop`.
        let pre_hook = unsafe { self.map_unchecked_mut(|this| &mut this.0) };
        pre_hook.poll(cx).map(|flow| flow.map(Into::into))
    }
}

/// Returns true if a hook of two arguments besides the instance is the trait's default.
pub(crate) const fn is_absent<I, C, S, F>(_: fn(I, C, S) -> F) -> bool {
    is_mark::<F>()
}

/// Returns true if a hook without arguments is the trait's default.
pub(crate) const fn is_absent_alone<I, F>(_: fn(I) -> F) -> bool {
    is_mark::<F>()
}

const fn is_mark<F>() -> bool {
    size_of::<F>() == 0 && align_of::<F>() == align_of::<Mark>()
}
