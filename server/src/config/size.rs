//! What sizes stand for: `--size small=20m/25Mi-200m/256Mi` is CPU and memory that are reserved for a sandbox, and the most that it
//! may use of both. Which sizes there are is fixed.

use anyhow::{Result, bail};
use model::resources::{Preset, Resources, Sizes};
use std::{collections::BTreeSet, str::FromStr};

/// An example of right.
const EXAMPLE: &str = "small=20m/25Mi-200m/256Mi";
/// The least of a CPU's limit, in thousandths: the kernel gives time by the tenth of a second, and one millisecond of it at least.
const LEAST_CPU_MILLIS: u32 = 10;
/// The least of a memory's limit. With less, some container runtimes start nothing, and the agent and a shell take a part of it.
const LEAST_MEMORY_MIB: u32 = 16;

/// What one size stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    preset: Preset,
    resources: Resources,
}

/// All sizes, with those that the operator gave in place of the usual ones.
///
/// # Errors
/// One was given twice.
pub fn sizes(given: &[Size]) -> Result<Sizes> {
    let mut seen = BTreeSet::new();
    given.iter().try_fold(Sizes::default(), |sizes, size| {
        let name = size.preset.as_str();
        if !seen.insert(name) {
            bail!("--size says twice what `{name}` stands for. Say it once.");
        }
        Ok(sizes.with(size.preset, size.resources))
    })
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}`: {why}. Write for example `{EXAMPLE}`.");
        let (name, amounts) = text.trim().split_once('=').ok_or_else(|| wrong("that is no NAME=CPU/MEMORY-CPU/MEMORY"))?;
        let preset: Preset = name.parse()?;
        let (request, limit) = amounts.split_once('-').ok_or_else(|| {
            wrong("behind the name come two amounts, what is reserved and the most, as CPU/MEMORY each and with `-` between them")
        })?;
        let pair = |text: &str| -> Result<(u32, u32), String> {
            let (cpu, memory) = text.split_once('/').ok_or_else(|| wrong(&format!("`{text}` is no CPU/MEMORY")))?;
            let cpu_millis = self::cpu_millis(cpu).map_err(|why| wrong(&format!("the CPU `{cpu}` {why}")))?;
            let memory_mib = self::memory_mib(memory).map_err(|why| wrong(&format!("the memory `{memory}` {why}")))?;
            Ok((cpu_millis, memory_mib))
        };
        let ((request_cpu_millis, request_memory), (limit_cpu_millis, limit_memory)) = (pair(request)?, pair(limit)?);
        if limit_cpu_millis < LEAST_CPU_MILLIS || limit_memory < LEAST_MEMORY_MIB {
            return Err(wrong(&format!("the most is at least {LEAST_CPU_MILLIS}m and {LEAST_MEMORY_MIB}Mi")));
        }
        for (what, request, limit) in [("CPU", request_cpu_millis, limit_cpu_millis), ("memory", request_memory, limit_memory)] {
            if request > limit {
                return Err(wrong(&format!("more {what} is reserved than may be used")));
            }
        }
        let bytes = |mib: u32| u64::from(mib) << 20;
        // A volume belongs to its project, and outlives a change of size.
        let disk_bytes = preset.resources().disk_bytes;
        let (request_memory_bytes, limit_memory_bytes) = (bytes(request_memory), bytes(limit_memory));
        let resources = Resources { request_cpu_millis, request_memory_bytes, limit_cpu_millis, limit_memory_bytes, disk_bytes };
        Ok(Self { preset, resources })
    }
}

/// Thousandths of a core: `200m`, or cores, `2`, `1.5`.
fn cpu_millis(text: &str) -> Result<u32, &'static str> {
    let unreadable = "is neither thousandths, such as `200m`, nor cores, such as `2` or `0.5`";
    let millis = match text.strip_suffix('m') {
        Some(millis) => whole(millis),
        None => {
            let (cores, part) = text.split_once('.').unwrap_or((text, "0"));
            // `.5` is 500 of them; what is finer than thousandths is refused.
            let part = Some(part).filter(|part| (1..=3).contains(&part.len())).and_then(|part| whole(&format!("{part:0<3}")));
            whole(cores).zip(part).and_then(|(cores, part)| cores.checked_mul(1000)?.checked_add(part))
        }
    };
    not_none(millis.ok_or(unreadable)?)
}

/// MiB: `256Mi`, `2Gi`.
fn memory_mib(text: &str) -> Result<u32, &'static str> {
    let unreadable = "is no whole number of `Mi` or `Gi`, such as `256Mi`";
    let mib = match (text.strip_suffix("Mi"), text.strip_suffix("Gi")) {
        (Some(mib), _) => whole(mib),
        (_, Some(gib)) => whole(gib).and_then(|gib| gib.checked_mul(1024)),
        (None, None) => None,
    };
    not_none(mib.ok_or(unreadable)?)
}

/// Digits alone: a number's own `FromStr` takes a sign too.
fn whole(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn not_none(amount: u32) -> Result<u32, &'static str> {
    if amount == 0 { Err("is nothing") } else { Ok(amount) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<(Preset, [u64; 4]), String> {
        let Size { preset, resources } = text.parse()?;
        let Resources { request_cpu_millis, request_memory_bytes, limit_cpu_millis, limit_memory_bytes, disk_bytes } = resources;
        assert_eq!(disk_bytes, preset.resources().disk_bytes);
        let [request, limit] = [request_memory_bytes, limit_memory_bytes].map(|bytes| {
            assert!(bytes.is_multiple_of(1 << 20));
            bytes >> 20
        });
        Ok((preset, [request_cpu_millis.into(), request, limit_cpu_millis.into(), limit]))
    }

    #[test]
    fn the_usual_sizes_are_written_as_the_documentation_has_them() {
        let usual = ["small=20m/25Mi-200m/256Mi", "medium=100m/256Mi-2/2Gi", "large=500m/1Gi-4/8Gi"];
        let usual: Vec<Size> = usual.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(sizes(&usual).unwrap(), Sizes::default());
        assert_eq!(sizes(&[]).unwrap(), Sizes::default());
    }

    #[test]
    fn amounts_are_read_in_every_way_in_which_they_are_written() {
        for (text, amounts) in [
            ("large=1/1Mi-1/16Mi", [1000, 1, 1000, 16]),
            ("large=0.5/1Gi-1.25/1Gi", [500, 1024, 1250, 1024]),
            (" large=0.001/3Mi-0.01/16Mi ", [1, 3, 10, 16]),
            ("large=1500m/512Mi-16.0/64Gi", [1500, 512, 16_000, 65_536]),
        ] {
            assert_eq!(read(text), Ok((Preset::Large, amounts)), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_says_what_would_be_right() {
        for (text, why) in [
            ("", "no NAME=CPU/MEMORY-CPU/MEMORY"),
            ("small", "no NAME=CPU/MEMORY-CPU/MEMORY"),
            ("small=", "behind the name come two amounts"),
            ("small=20m/25Mi", "behind the name come two amounts"),
            ("small=20m-200m", "`20m` is no CPU/MEMORY"),
            ("small=20m/25Mi-200m", "`200m` is no CPU/MEMORY"),
            ("small=20m/25Mi-200m/256Mi-1/1Gi", "the memory `256Mi-1/1Gi` is no whole number of `Mi` or `Gi`"),
            ("small=20m/25-200m/256Mi", "the memory `25` is no whole number"),
            ("small=20m/25M-200m/256Mi", "the memory `25M` is no whole number"),
            ("small=20m/25m-200m/256Mi", "the memory `25m` is no whole number"),
            ("small=20m/1.5Gi-200m/2Gi", "the memory `1.5Gi` is no whole number"),
            ("small=20m/Mi-200m/2Gi", "the memory `Mi` is no whole number"),
            ("small=20m/+25Mi-200m/2Gi", "the memory `+25Mi` is no whole number"),
            ("small=25Mi/20m-256Mi/200m", "the CPU `25Mi` is neither thousandths"),
            ("small=20 m/25Mi-200m/256Mi", "the CPU `20 m` is neither thousandths"),
            ("small=/25Mi-200m/256Mi", "the CPU `` is neither thousandths"),
            ("small=.5/25Mi-1/256Mi", "the CPU `.5` is neither thousandths"),
            ("small=1./25Mi-1/256Mi", "the CPU `1.` is neither thousandths"),
            ("small=0.0001/25Mi-1/256Mi", "the CPU `0.0001` is neither thousandths"),
            ("small=1.5m/25Mi-1/256Mi", "the CPU `1.5m` is neither thousandths"),
            ("small=99999999999/25Mi-1/256Mi", "the CPU `99999999999` is neither thousandths"),
            ("small=4294968/25Mi-1/256Mi", "the CPU `4294968` is neither thousandths"),
            ("small=1/9999999Gi-1/256Mi", "the memory `9999999Gi` is no whole number"),
            ("small=0/25Mi-200m/256Mi", "the CPU `0` is nothing"),
            ("small=0.000/25Mi-200m/256Mi", "the CPU `0.000` is nothing"),
            ("small=20m/0Gi-200m/256Mi", "the memory `0Gi` is nothing"),
            ("small=1m/25Mi-9m/256Mi", "the most is at least 10m and 16Mi"),
            ("small=20m/1Mi-200m/15Mi", "the most is at least 10m and 16Mi"),
            ("small=201m/25Mi-200m/256Mi", "more CPU is reserved than may be used"),
            ("small=20m/257Mi-200m/256Mi", "more memory is reserved than may be used"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(why) && refused.contains(EXAMPLE), "{text}: {refused}");
        }
        for name in ["huge", "Small", ""] {
            let refused = read(&format!("{name}=20m/25Mi-200m/256Mi")).unwrap_err();
            assert!(refused.contains("there are small, medium and large"), "{refused}");
        }
        let twice = ["small=20m/25Mi-200m/256Mi", "small=20m/25Mi-300m/256Mi"].map(|text| text.parse().unwrap());
        assert!(sizes(&twice).unwrap_err().to_string().contains("twice what `small` stands for"));
    }

    #[test]
    fn a_variable_gives_several_as_flags_do() {
        #[derive(Debug, clap::Parser)]
        struct Alone {
            #[command(flatten)]
            args: crate::config::ServeArgs,
        }
        let given = |line: &[&str]| <Alone as clap::Parser>::try_parse_from([&["serve"][..], line].concat());
        let (small, large) = ("small=50m/64Mi-300m/512Mi", "large=1/2Gi-8/16Gi");
        let apart = given(&["--size", small, "--size", large]).unwrap().args.sizes;
        assert_eq!(apart, given(&["--size", &format!("{small},{large}")]).unwrap().args.sizes);
        assert_eq!(sizes(&apart).unwrap().of(Preset::Large).limit_cpu_millis, 8000);
        assert_eq!(sizes(&apart).unwrap().of(Preset::Medium), Preset::Medium.resources());
        let refused = given(&["--size", "small=2/25Mi-1/256Mi"]).unwrap_err().to_string();
        assert!(refused.contains("--size") && refused.contains("more CPU is reserved"), "{refused}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            preset in prop::sample::select(Preset::ALL.to_vec()),
            cpu in (1..1_000_000_u32, 10..1_000_000_u32),
            memory in (1..1_000_000_u32, 16..1_000_000_u32),
            in_cores in any::<bool>(),
        ) {
            let written = |millis: u32| match in_cores {
                true => format!("{}.{:03}", millis / 1000, millis % 1000),
                false => format!("{millis}m"),
            };
            let text = format!(
                "{}={}/{}Mi-{}/{}Mi", preset.as_str(), written(cpu.0), memory.0, written(cpu.1), memory.1
            );
            let read = read(&text);
            if cpu.0 <= cpu.1 && memory.0 <= memory.1 {
                prop_assert_eq!(read, Ok((preset, [cpu.0, memory.0, cpu.1, memory.1].map(u64::from))));
            } else {
                prop_assert!(read.unwrap_err().contains("is reserved than may be used"));
            }
        }

        #[test]
        fn no_text_breaks_it(text in "(small=)?[0-9a-zA-Z./=, -]{0,40}") {
            let _ = read(&text);
        }
    }
}
