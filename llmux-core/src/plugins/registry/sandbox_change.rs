//! A change of some rights and limits of an isolated instance.
//!
//! A program asks for it with `Change::Isolate`; `desired` keeps those of operators. Deliberately absent: checks of the
//! values, which are made when the instance is made.

use std::path::PathBuf;

use super::setting::Setting;
use crate::plugins::library::sandbox::{SandboxParts, SandboxSettings};

macro_rules! sandbox_change {
    ($($member:ident: $type:ty,)*) => {
        /// Changes of the members of [`SandboxSettings`]. A member that is [`Setting::Keep`] stays as it is.
        #[derive(Clone, Debug, Default, PartialEq)]
        #[non_exhaustive]
        pub struct SandboxChange {
            $(
                #[doc = concat!("Change of [`", stringify!($member), "`](SandboxSettings#structfield.", stringify!($member), ").")]
                pub $member: Setting<$type>,
            )*
        }

        impl SandboxChange {
            /// The change of every member to that of these settings.
            pub(super) fn to(settings: &SandboxSettings) -> Self {
                let settings = settings.clone();
                Self { $($member: Setting::of(settings.$member),)* }
            }

            /// The change of the members that these settings have.
            pub(super) fn to_given(settings: &SandboxSettings) -> Self {
                let settings = settings.clone();
                Self { $($member: settings.$member.map_or(Setting::Keep, Setting::Set),)* }
            }

            /// Returns true if every member stays as it is.
            pub fn is_keep(&self) -> bool {
                $(self.$member.is_keep())&&*
            }

            /// Returns the settings after the change.
            pub(super) fn after(&self, before: &SandboxSettings) -> SandboxSettings {
                let (change, mut settings) = (self.clone(), before.clone());
                $(settings.$member = change.$member.after(settings.$member);)*
                settings
            }

            /// Adds a later change.
            pub(super) fn replace(&mut self, later: Self) {
                $(if !later.$member.is_keep() {
                    self.$member = later.$member;
                })*
            }

            /// Drops the members that change nothing, and returns the names of the others.
            pub(super) fn normalize(&mut self, own: &SandboxSettings) -> Vec<&'static str> {
                let after = self.after(own);
                let mut changed = Vec::new();
                $(match after.$member == own.$member {
                    true => self.$member = Setting::Keep,
                    false => changed.push(stringify!($member)),
                })*
                changed
            }
        }
    };
}

sandbox_change! {
    sandbox: SandboxParts,
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    env: Vec<String>,
    network: bool,
    processes: bool,
    memory: u64,
    files: u64,
    cpu: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i5_a_change_of_rights_leaves_the_other_members_as_they_are() {
        let own = SandboxSettings::default().with_memory(Some(1)).with_network(Some(true));
        let mut change = SandboxChange { memory: Setting::Set(2), files: Setting::Set(3), ..<_>::default() };
        assert_eq!(change.after(&own), own.clone().with_memory(Some(2)).with_files(Some(3)));
        change.replace(SandboxChange {
            memory: Setting::Clear,
            network: Setting::Set(true),
            ..<_>::default()
        });
        assert_eq!(change.after(&own), own.clone().with_memory(None).with_files(Some(3)));
        assert_eq!(change.normalize(&own), ["memory", "files"]);
        assert_eq!(change.network, Setting::Keep);
        assert!(!change.is_keep() && SandboxChange::default().is_keep());
        let other = SandboxSettings::default().with_cpu(Some(0.5));
        assert_eq!(SandboxChange::to(&other).after(&own), other);
        assert_eq!(SandboxChange::to_given(&other).after(&own), own.with_cpu(Some(0.5)));
    }
}
