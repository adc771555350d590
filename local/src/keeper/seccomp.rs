//! The system calls that nothing in a sandbox has a use for: those that reach kernel code which is
//! large, old or privileged, and those that reach past namespaces.
//!
//! A list of what is refused and not of what is allowed, so that programs of tomorrow run; namespaces
//! and the lack of capabilities are the wall, this is the second one. The list is Docker's default
//! profile turned around, for a process without capabilities, with ptrace left in (debuggers).

use nix::libc::{self, c_long};

/// The filter as `bwrap --seccomp` reads it: an array of `struct sock_filter`.
#[must_use]
pub fn filter() -> Vec<u8> {
    let mut program = Program::default();
    // A foreign architecture's numbers mean other calls (i386 on x86_64): none of them.
    program.load(OFFSET_ARCH);
    program.unless_equal(ARCH, KILL);
    program.load(OFFSET_NUMBER);
    #[cfg(target_arch = "x86_64")]
    program.if_at_least(X32_BIT, errno(libc::ENOSYS));
    for number in REFUSED {
        program.if_equal(*number as u32, errno(libc::EPERM));
    }
    for number in ABSENT {
        program.if_equal(*number as u32, errno(libc::ENOSYS));
    }
    // Typing into a terminal from outside it, and pasting from the console's selection.
    program.if_call_with(libc::SYS_ioctl, 1, &[libc::TIOCSTI as u32, libc::TIOCLINUX as u32], errno(libc::EPERM));
    // Sockets only of the kinds that a network namespace holds in. Not vsock, which reaches the
    // hypervisor; not packet, alg, bluetooth, can and the rest.
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        program.unless_call_with(call, 0, FAMILIES, errno(libc::EAFNOSUPPORT));
    }
    program.answer(ALLOW);
    program.bytes()
}

const FAMILIES: &[u32] = &[libc::AF_UNIX as u32, libc::AF_INET as u32, libc::AF_INET6 as u32, libc::AF_NETLINK as u32];

/// Answered with EPERM.
const REFUSED: &[c_long] = &[
    // Keys of the kernel are not namespaced.
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // Kernel code and its inside.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kcmp,
    libc::SYS_syslog,
    libc::SYS_lookup_dcookie,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // The machine.
    libc::SYS_acct,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_nfsservctl,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
];

/// Answered with ENOSYS, as by a kernel without them, so that programs use the older way.
const ABSENT: &[c_long] = &[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// `offsetof(struct seccomp_data, nr)`.
const OFFSET_NUMBER: u32 = 0;
/// `offsetof(struct seccomp_data, arch)`.
const OFFSET_ARCH: u32 = 4;
/// The low half of `args[0]`, on a little-endian machine.
const OFFSET_ARGUMENTS: u32 = 16;
/// `AUDIT_ARCH_X86_64`, `AUDIT_ARCH_AARCH64`.
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xC000_00B7;
#[cfg(target_arch = "x86_64")]
const X32_BIT: u32 = 0x4000_0000;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

const fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number as u32
}

/// Instructions. Every jump leads over the very next ones, so that no distance outgrows its byte.
#[derive(Default)]
struct Program(Vec<(u16, u8, u8, u32)>);

impl Program {
    fn load(&mut self, offset: u32) {
        self.0.push(((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, 0, 0, offset));
    }

    fn answer(&mut self, action: u32) {
        self.0.push(((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, action));
    }

    fn jump(&mut self, test: u32, value: u32, yes: u8, no: u8) {
        self.0.push(((libc::BPF_JMP | test | libc::BPF_K) as u16, yes, no, value));
    }

    fn if_equal(&mut self, value: u32, action: u32) {
        self.jump(libc::BPF_JEQ, value, 0, 1);
        self.answer(action);
    }

    fn unless_equal(&mut self, value: u32, action: u32) {
        self.jump(libc::BPF_JEQ, value, 1, 0);
        self.answer(action);
    }

    #[cfg(target_arch = "x86_64")]
    fn if_at_least(&mut self, value: u32, action: u32) {
        self.jump(libc::BPF_JGE, value, 0, 1);
        self.answer(action);
    }

    /// `action` if the call is this one and its argument one of `values`. Ends with the number loaded.
    fn if_call_with(&mut self, call: c_long, argument: u32, values: &[u32], action: u32) {
        let body = values.len() as u8 * 2;
        self.jump(libc::BPF_JEQ, call as u32, 0, body + 2);
        self.load(OFFSET_ARGUMENTS + 8 * argument);
        for value in values {
            self.if_equal(*value, action);
        }
        self.load(OFFSET_NUMBER);
    }

    /// `action` if the call is this one and its argument none of `values`. Ends with the number loaded.
    fn unless_call_with(&mut self, call: c_long, argument: u32, values: &[u32], action: u32) {
        let count = values.len() as u8;
        self.jump(libc::BPF_JEQ, call as u32, 0, count + 3);
        self.load(OFFSET_ARGUMENTS + 8 * argument);
        for (left, value) in (0..count).rev().zip(values) {
            self.jump(libc::BPF_JEQ, *value, left + 1, 0);
        }
        self.answer(action);
        self.load(OFFSET_NUMBER);
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * 8);
        for (code, yes, no, value) in &self.0 {
            bytes.extend(code.to_ne_bytes());
            bytes.extend([*yes, *no]);
            bytes.extend(value.to_ne_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter on one call, as the kernel would.
    fn run(number: c_long, arguments: [u64; 2]) -> u32 {
        let mut data = Vec::new();
        data.extend((number as u32).to_ne_bytes());
        data.extend(ARCH.to_ne_bytes());
        data.extend(0_u64.to_ne_bytes());
        arguments.iter().for_each(|a| data.extend(a.to_ne_bytes()));
        let bytes = filter();
        let program: Vec<_> = bytes
            .chunks(8)
            .map(|i| (u16::from_ne_bytes([i[0], i[1]]), i[2], i[3], u32::from_ne_bytes([i[4], i[5], i[6], i[7]])))
            .collect();
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let (code, yes, no, value) = program[at];
            at += 1;
            match u32::from(code) {
                c if c == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    accumulator = u32::from_ne_bytes(data[value as usize..][..4].try_into().unwrap());
                }
                c if c == libc::BPF_RET | libc::BPF_K => return value,
                c => {
                    let test = c & 0xf0;
                    let holds = if test == libc::BPF_JEQ { accumulator == value } else { accumulator >= value };
                    at += usize::from(if holds { yes } else { no });
                }
            }
        }
    }

    #[test]
    fn what_is_refused_is_refused_and_the_rest_is_not() {
        for number in REFUSED {
            assert_eq!(run(*number, [0, 0]), errno(libc::EPERM), "{number}");
        }
        assert_eq!(run(libc::SYS_io_uring_setup, [0, 0]), errno(libc::ENOSYS));
        for number in [libc::SYS_read, libc::SYS_ptrace, libc::SYS_clone3, libc::SYS_openat2, libc::SYS_memfd_create] {
            assert_eq!(run(number, [0, 0]), ALLOW, "{number}");
        }
    }

    #[test]
    fn arguments_count_where_they_decide() {
        assert_eq!(run(libc::SYS_ioctl, [0, libc::TIOCSTI]), errno(libc::EPERM));
        assert_eq!(run(libc::SYS_ioctl, [0, libc::TIOCGWINSZ]), ALLOW);
        for family in FAMILIES {
            assert_eq!(run(libc::SYS_socket, [u64::from(*family), 0]), ALLOW);
            assert_eq!(run(libc::SYS_socketpair, [u64::from(*family), 0]), ALLOW);
        }
        for family in [libc::AF_VSOCK, libc::AF_PACKET, libc::AF_ALG, 44] {
            assert_eq!(run(libc::SYS_socket, [family as u64, 0]), errno(libc::EAFNOSUPPORT));
        }
        // Only the low half of an ioctl's request counts to the kernel, so it must to us.
        assert_eq!(run(libc::SYS_ioctl, [0, (1 << 32) | libc::TIOCSTI]), errno(libc::EPERM));
    }
}
