//! Files, TCP and other processes, as far as Landlock restricts them.
//!
//! `sandbox` calls it. Landlock has versions. A kernel with an earlier version applies fewer parts, and the report names the
//! others. Deliberately absent: changes of mode, owner, times and extended attributes, which Landlock does not restrict;
//! `calls` refuses them.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, Scope, path_beneath_rules,
};

use super::{
    policy::Policy,
    report::{Missing, Part, Report},
};

/// The latest version of Landlock that the tests ran with.
pub(super) const TESTED: ABI = ABI::V6;

/// Paths that every library may read: libraries, and the time.
const SYSTEM: [&str; 11] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/nix/store",
    "/gnu/store",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
];

/// Paths that name resolution and TLS read.
const NETWORK: [&str; 11] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/usr/share/ca-certificates",
];

/// Restricts this thread, and the threads and processes that it starts. `most` bounds the version of Landlock that is used.
pub(super) fn restrict(policy: &Policy, most: ABI, report: &mut Report) {
    let (kernel, why) = match apply(policy, most) {
        Ok(LandlockStatus::Available { effective_abi, .. }) => (effective_abi, String::new()),
        Ok(LandlockStatus::NotEnabled) => (
            ABI::Unsupported,
            "Landlock is not enabled; add `landlock` to the kernel's parameter `lsm`".into(),
        ),
        Ok(LandlockStatus::NotImplemented) => {
            (ABI::Unsupported, "the kernel has no Landlock, which came with Linux 5.13".into())
        }
        Err(error) => (ABI::Unsupported, format!("Landlock: {error}")),
    };
    let version = kernel.min(most);
    let parts = [
        (Part::Files, ABI::V1, "5.13"),
        (Part::Truncation, ABI::V3, "6.2"),
        (Part::Tcp, ABI::V4, "6.7"),
        (Part::Devices, ABI::V5, "6.10"),
        (Part::Scopes, ABI::V6, "6.12"),
    ];
    for (part, needed, linux) in
        parts.into_iter().filter(|(part, ..)| !(policy.network && *part == Part::Tcp))
    {
        let why = match version {
            _ if version >= needed => {
                report.applied.push(part);
                continue;
            }
            ABI::Unsupported if !why.is_empty() => why.clone(),
            _ => format!(
                "the kernel has version {version} of Landlock, and version {needed} came with Linux {linux}"
            ),
        };
        report.missing.push(Missing { part, why });
    }
}

fn apply(policy: &Policy, most: ABI) -> Result<LandlockStatus, RulesetError> {
    if most == ABI::Unsupported {
        return Ok(LandlockStatus::NotImplemented);
    }
    let mut rules = Ruleset::default().handle_access(AccessFs::from_all(most))?;
    if !policy.network && most >= ABI::V4 {
        rules = rules.handle_access(AccessNet::from_all(most))?;
    }
    if most >= ABI::V6 {
        rules = rules.scope(Scope::from_all(most))?;
    }
    let mut read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    if policy.processes {
        read |= AccessFs::Execute;
    }
    let write = AccessFs::from_write(most) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
    let network: &[&str] = if policy.network { &NETWORK } else { &[] };
    let readable = SYSTEM.iter().chain(network).map(Path::new);
    let status = rules
        .create()?
        .add_rules(path_beneath_rules(readable.chain(policy.read.iter().map(AsRef::as_ref)), read))?
        .add_rules(path_beneath_rules(&policy.write, read | write))?
        .restrict_self()?;
    Ok(status.landlock)
}
