//! The contract's `extern "C"` functions, which call the trait and convert a panic into an answer.
//!
//! # Soundness
//!
//! An instance is a `Box<Shell<P>>`. The host receives its pointer from `create` and passes it to `drop` after the last
//! hook. Until then every hook may borrow the instance. Everything lent to a hook call lives for `'a`, and the future
//! that the call returns carries `'a`.
//!
//! No function here unwinds. The body of each is one call of [`guarded`](super::contain::guarded), for a hook by `start`.
//! A hook's future is wrapped in [`Contained`](super::contain::Contained), which catches a panic of its `poll` and of its
//! `drop`; [`caught`](super::contain::caught) also contains a payload that panics when it is dropped. A test reads the
//! sources and refuses an `extern "C"` function whose body is anything else.

#![allow(unsafe_code)]

mod answer;
mod hooks;
mod place;
mod start;
mod stream;

use std::marker::PhantomData;

use abi_stable::{
    prefix_type::WithMetadata,
    std_types::{RNone, ROption, RSome},
};

use self::hooks::Shell;
use super::{
    absent::{is_absent, is_absent_alone},
    contain::{caught, guarded},
    error::{Error, Result},
    handle::{Answer, HostHandle, log::scope},
    host::Host,
    manifest::{Exported, PluginManifest},
    plugin::{Configuration, Plugin},
    tracing,
};
use crate::raw::{
    call::{CreateCallRef, InstanceObject},
    flow::{HOOK_CONTINUE, HOOK_FAILED, RawAnswer},
    host::RawHost,
    plugin::{PluginModule, PluginModuleRef, PluginTable, PluginTableRef, RawInstance},
    version::ABI_FIRST,
};

/// A plugin compiled into the host: its manifest and its module.
#[derive(Clone)]
#[non_exhaustive]
pub struct Compiled {
    /// The manifest, as JSON.
    pub manifest: String,
    /// The module, which makes instances.
    pub module: PluginModuleRef,
}

/// Returns a plugin that is compiled into the host, from which the host makes instances.
pub fn compiled<P: Plugin + Exported>() -> Compiled {
    Compiled { manifest: P::MANIFEST.json(), module: module::<P>() }
}

/// Returns the module of a plugin.
pub const fn module<P: Plugin>() -> PluginModuleRef {
    PluginModuleRef(Tables::<P>::MODULE.as_prefix())
}

/// Returns an instance that `make` creates, of a plugin compiled into the host. `make` receives the host's services.
///
/// # Errors
///
/// If `make` returns an error or panics.
pub fn instance<P: Plugin>(
    name: &str,
    host: RawHost,
    make: impl FnOnce(Host) -> Result<P>,
) -> Result<RawInstance, String> {
    let host = Host::new(HostHandle::retain(host), name);
    let plugin = caught(|| scope(host.handle(), || make(host.clone())))
        .map_err(|panic| format!("panicked: {panic}"))?
        .map_err(|error| error.to_string())?;
    let shell = Box::new(Shell { plugin, host });
    let object = Box::into_raw(shell).cast::<InstanceObject>();
    Ok(RawInstance { object, table: PluginTableRef(Tables::<P>::HOOKS.as_prefix()) })
}

/// Returns which hooks a plugin writes, in the order of [`PluginManifest::HOOKS`].
pub const fn hooks<P: Plugin>() -> [bool; PluginManifest::HOOKS.len()] {
    [
        P::EVERY_HOOK || !is_absent(P::pre_hook),
        P::EVERY_HOOK || !is_absent(P::post_hook),
        P::EVERY_HOOK || !is_absent(P::pre_stream_hook),
        P::EVERY_HOOK || !is_absent(P::on_stream_chunk),
        P::EVERY_HOOK || !is_absent(P::post_stream_hook),
        P::EVERY_HOOK || !is_absent(P::on_complete),
        P::EVERY_HOOK || !is_absent_alone(P::cleanup),
        P::EVERY_HOOK || !is_absent(P::on_text),
        P::EVERY_HOOK || !is_absent(P::on_tool_call),
        P::EVERY_HOOK || !is_absent(P::beside),
    ]
}

/// Returns the least version of the contract that a plugin needs. An older host would load the plugin and never call a hook
/// that came later, such as a guard.
pub const fn abi_min<P: Plugin>() -> &'static str {
    // A hook that a later version adds stands here with that version, the newest first. A plugin that wraps another one
    // names every hook, and only its author knows which of them it needs.
    if !is_absent(P::on_text) || !is_absent(P::on_tool_call) || !is_absent(P::beside) {
        return "0.2.2";
    }
    ABI_FIRST
}

struct Tables<P>(PhantomData<P>);

impl<P: Plugin> Tables<P> {
    abi_stable::staticref! {
        const MODULE: WithMetadata<PluginModule> = WithMetadata::new(PluginModule {
            create: create::<P>,
            config_schema: config_schema::<P>,
            attach,
        });
        const HOOKS: WithMetadata<PluginTable> = WithMetadata::new(PluginTable {
            drop_state: hooks::drop_state_caught,
            drop: hooks::drop_instance::<P>,
            pre_hook: if hooks::<P>()[0] { Some(hooks::pre_hook::<P>) } else { None },
            post_hook: if hooks::<P>()[1] { Some(hooks::post_hook::<P>) } else { None },
            pre_stream_hook: if hooks::<P>()[2] { Some(hooks::pre_stream_hook::<P>) } else { None },
            on_stream_chunk: if hooks::<P>()[3] { Some(hooks::on_stream_chunk::<P>) } else { None },
            post_stream_hook: if hooks::<P>()[4] { Some(hooks::post_stream_hook::<P>) } else { None },
            on_complete: if hooks::<P>()[5] { Some(hooks::on_complete::<P>) } else { None },
            cleanup: if hooks::<P>()[6] { Some(hooks::cleanup::<P>) } else { None },
            on_text: if hooks::<P>()[7] { Some(hooks::on_text::<P>) } else { None },
            on_tool_call: if hooks::<P>()[8] { Some(hooks::on_tool_call::<P>) } else { None },
            beside: if hooks::<P>()[9] { Some(hooks::beside::<P>) } else { None },
        });
    }
}

unsafe extern "C" fn create<P: Plugin>(call: CreateCallRef<'_>) -> ROption<RawInstance> {
    guarded(RNone, || {
        let made = instance::<P>(call.name().as_str(), call.host(), |host| {
            let config = <P::Config as Configuration>::read(call.config().as_str())
                .map_err(|error| Error::new(format!("configuration: {error}")))?;
            match call.old().into_option() {
                // SAFETY: the host says that this plugin made the old instance, and lends it for this call.
                Some(old) => P::renew(unsafe { hooks::instance(old) }, config, host),
                None => P::new(config, host),
            }
        });
        match made {
            Ok(instance) => RSome(instance),
            Err(message) => {
                Answer::new(call.answer()).failed(&message);
                RNone
            }
        }
    })
}

unsafe extern "C" fn config_schema<P: Plugin>(answer: RawAnswer<'_>) -> u32 {
    guarded(HOOK_FAILED, || {
        let mut answer = Answer::new(answer);
        match caught(<P::Config as Configuration>::schema) {
            Ok(schema) => {
                answer.respond(&schema);
                HOOK_CONTINUE
            }
            Err(panic) => {
                answer.panicked(&panic);
                HOOK_FAILED
            }
        }
    })
}

unsafe extern "C" fn attach(host: RawHost) {
    guarded((), || tracing::install(HostHandle::retain(host)));
}

#[cfg(test)]
mod tests {
    use std::future::{Future, pending, poll_fn};

    use super::hooks;
    use crate::prelude::*;

    struct Bare;

    impl Plugin for Bare {
        type Config = NoConfig;

        fn new(_: NoConfig, _: Host) -> Result<Self> {
            Ok(Self)
        }
    }

    /// A plugin with hooks written in different ways, some of them without a size.
    struct Whole;

    impl Plugin for Whole {
        type Config = NoConfig;

        fn new(_: NoConfig, _: Host) -> Result<Self> {
            Ok(Self)
        }

        async fn pre_hook(&self, _: &mut Context<'_>, _: &mut Request<'_>) -> Result<Flow> {
            Ok(Flow::Continue)
        }

        fn post_hook(
            &self,
            _: &mut Context<'_>,
            _: &mut Outcome<'_>,
        ) -> impl Future<Output = Result<()>> + Send {
            pending()
        }

        fn on_stream_chunk(
            &self,
            _: &mut Context<'_>,
            _: &mut Chunk<'_>,
        ) -> impl Future<Output = Result<ChunkFlow>> + Send {
            poll_fn(|_| std::task::Poll::Ready(Ok(ChunkFlow::Drop)))
        }

        async fn on_text(&self, _: &mut Context<'_>, _: &mut Text<'_>) -> Result<TextFlow> {
            Ok(TextFlow::Continue)
        }

        async fn on_tool_call(&self, _: &mut Context<'_>, _: &mut ToolCall<'_>) -> Result<ToolFlow> {
            Ok(ToolFlow::Remove)
        }

        async fn beside(&self, _: &mut Context<'_>, _: &Request<'_>) -> Result<Verdict> {
            Ok(Verdict::Allow)
        }

        async fn on_complete(&self, ctx: &mut Context<'_>, completion: &Completion<'_>) {
            Bare.on_complete(ctx, completion).await;
        }

        fn cleanup(&self) -> impl Future<Output = Result<()>> + Send {
            std::future::ready(Ok(()))
        }
    }

    #[test]
    fn a_hook_is_absent_if_and_only_if_the_plugin_does_not_write_it() {
        assert_eq!(hooks::<Bare>(), [false; 10]);
        // `Whole` has `pre_stream_hook` through its `pre_hook`, and lacks only `post_stream_hook`.
        assert_eq!(hooks::<Whole>(), [true, true, true, true, false, true, true, true, true, true]);
    }
}
