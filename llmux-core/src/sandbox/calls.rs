//! The filter of system calls (seccomp), for x86-64 and 64-bit ARM.
//!
//! `sandbox` calls it. A refused call fails with `EPERM`. Calls that are newer than this list, and those of the x32 ABI, fail
//! with `ENOSYS`, as on an older kernel; so does `clone3`, whose flags a filter cannot read, and libraries use `clone`
//! instead. Deliberately absent: calls that need a capability, because the process has none, and calls that Landlock decides.

use libc::{c_int, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};

use super::policy::Policy;

/// The conditions of a refusal: all of one rule hold for the arguments of a call.
type Rules = Vec<Vec<(u8, SeccompCmpOp, u64)>>;

/// Numbers of calls that the crate `libc` does not know yet. Calls from 424 on have one number on every architecture.
const FCHMODAT2: c_long = 452;
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const OPEN_TREE_ATTR: c_long = 467;
const FILE_SETATTR: c_long = 469;
/// The latest call that this list was compared with (Linux 6.17).
const LATEST: c_long = FILE_SETATTR;

/// Calls that are always refused.
const REFUSED: &[c_long] = &[
    // Memory, descriptors and secrets of other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_get_robust_list,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semctl,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // Leaving the process group, by which the host ends the child.
    libc::SYS_setsid,
    libc::SYS_setpgid,
    // Parts of the kernel with a record of bugs, or that other calls can be hidden in.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_syslog,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    // Files without a path, and names of files in folders that it may not read.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_inotify_init1,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_inotify_init,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    // Mode, owner, times, extended attributes and length by path. A descriptor that only reads is enough for most of these.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    REMOVEXATTRAT,
    FILE_SETATTR,
    libc::SYS_truncate,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
];

/// Calls that start processes and programs, besides `clone`.
const PROCESSES: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
];

/// Calls of sockets that an inherited socket does not need.
const SOCKETS: &[c_long] = &[
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
];

/// Flags of `clone` that make namespaces.
const NAMESPACES: [c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Commands of `fcntl` that send signals to another process: `F_SETOWN`, `F_SETSIG` and `F_SETOWN_EX`.
const SIGNAL_COMMANDS: [u64; 3] = [8, 10, 15];

/// Commands of `ioctl`: `FIOSETOWN` and `SIOCSPGRP` (signals), `TIOCSTI` and `TIOCLINUX` (input of a terminal),
/// `FS_IOC_SETFLAGS` and `FS_IOC_FSSETXATTR` (attributes of files that it may only read).
const CONTROL_COMMANDS: [u64; 6] = [0x8901, 0x8902, 0x5412, 0x541C, 0x4008_6602, 0x401C_5820];

/// Applies the filter to this thread, and to the threads and processes that it starts.
pub(super) fn restrict(policy: &Policy) -> Result<(), String> {
    let program = program(policy).map_err(|error| error.to_string())?;
    seccompiler::apply_filter(&program).map_err(|error| match error {
        // The message of the crate ends with the number of the error alone.
        seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error) => format!("seccomp: {error}"),
        error => error.to_string(),
    })
}

fn program(policy: &Policy) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut program = not_here();
    let mut refused: Vec<(c_long, Rules)> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    refused.extend(conditional(policy));
    if !policy.processes {
        refused.extend(PROCESSES.iter().map(|call| (*call, Vec::new())));
    }
    if !policy.network {
        refused.extend(SOCKETS.iter().map(|call| (*call, Vec::new())));
    }
    let rules = refused.into_iter().map(|(call, rules)| {
        let rules = rules.into_iter().map(|conditions| {
            let conditions =
                conditions.into_iter().map(|(at, op, value)| SeccompCondition::new(at, Dword, op, value));
            SeccompRule::new(conditions.collect::<Result<_, _>>()?)
        });
        Ok((call, rules.collect::<Result<_, _>>()?))
    });
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let rules = rules.collect::<Result<_, seccompiler::BackendError>>()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, std::env::consts::ARCH.try_into()?)?;
    program.extend(BpfProgram::try_from(filter)?);
    Ok(program)
}

/// Returns the calls whose arguments decide.
fn conditional(policy: &Policy) -> Vec<(c_long, Rules)> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let own = u64::from(std::process::id());
    // Zero is the caller in these calls.
    let others = |at: u8| vec![(at, Ne, 0), (at, Ne, own)];
    let any_of =
        |at: u8, values: &[u64]| values.iter().map(|value| vec![(at, Eq, *value)]).collect::<Rules>();
    let namespaces = NAMESPACES.map(|flag| flag as u64).map(|flag| vec![(0, MaskedEq(flag), flag)]);
    let mut clone = namespaces.to_vec();
    if !policy.processes {
        clone.push(vec![(0, MaskedEq(libc::CLONE_THREAD as u64), 0)]);
    }
    let mut refused = vec![
        (libc::SYS_clone, clone),
        // Signals to other processes. The first thread has the number of the process.
        (libc::SYS_kill, vec![vec![(0, Ne, own)]]),
        (libc::SYS_tkill, vec![vec![(0, Ne, own)]]),
        (libc::SYS_tgkill, vec![vec![(0, Ne, own)]]),
        (libc::SYS_rt_sigqueueinfo, vec![vec![(0, Ne, own)]]),
        (libc::SYS_rt_tgsigqueueinfo, vec![vec![(0, Ne, own)]]),
        (libc::SYS_fcntl, any_of(1, &SIGNAL_COMMANDS)),
        (libc::SYS_ioctl, any_of(1, &CONTROL_COMMANDS)),
        // The child ends with its host.
        (libc::SYS_prctl, any_of(0, &[libc::PR_SET_PDEATHSIG as u64])),
        // Limits, priorities, processors and memory nodes of other processes of the same user.
        (libc::SYS_prlimit64, vec![others(0)]),
        (libc::SYS_setpriority, vec![vec![(0, Ne, libc::PRIO_PROCESS as u64)], others(1)]),
        (libc::SYS_ioprio_set, vec![vec![(0, Ne, 1)], others(1)]),
        (libc::SYS_sched_setaffinity, vec![others(0)]),
        (libc::SYS_sched_setparam, vec![others(0)]),
        (libc::SYS_sched_setscheduler, vec![others(0)]),
        (libc::SYS_sched_setattr, vec![others(0)]),
        (libc::SYS_migrate_pages, vec![others(0)]),
        (libc::SYS_move_pages, vec![others(0)]),
        // Two connected ends in one process, which runtimes use to wake a thread. A datagram socket could reach others.
        (libc::SYS_socketpair, {
            let stream = libc::SOCK_STREAM as u64;
            let mut other = vec![vec![(0, Ne, libc::AF_UNIX as u64)], vec![(1, MaskedEq(stream), 0)]];
            other.extend([2, 4, 8].map(|bit| vec![(1, MaskedEq(bit), bit)]));
            other
        }),
    ];
    if policy.network {
        // IP, and the kernel's list of addresses, which name resolution reads.
        let netlink = libc::AF_NETLINK as u64;
        let allowed = [libc::AF_INET as u64, libc::AF_INET6 as u64, netlink];
        let domain = allowed.map(|domain| (0, Ne, domain)).to_vec();
        refused.push((
            libc::SYS_socket,
            vec![domain, vec![(0, Eq, netlink), (2, Ne, libc::NETLINK_ROUTE as u64)]],
        ));
    }
    refused
}

/// Returns the beginning of the program, which answers `ENOSYS`. Every other call goes on behind it.
fn not_here() -> BpfProgram {
    let (load, equal, at_least, answer) = (0x20, 0x15, 0x35, 0x06);
    let step = |code, k, jt, jf| sock_filter { code, jt, jf, k };
    vec![
        step(load, 0, 0, 0), // the call's number
        step(equal, libc::SYS_clone3 as u32, 1, 0),
        step(at_least, LATEST as u32 + 1, 0, 1), // also x32, whose numbers have a high bit
        step(answer, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32, 0, 0),
    ]
}
