//! Allocations that fail, each large one of a small run in turn: there is an error, no file half written, and the next run has
//! the same bits. What threads of the pool take, tiles that a kernel works on, is not counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::ptr::null_mut;

use perceiver::checkpoint::{read_tensors, write_tensors};
use perceiver::{Engine, Error, NamedTensors, Result, Tensor};

/// Smaller ones end the process where they fail, as in every Rust program.
const LARGE: usize = 64 << 10;

thread_local! {
    /// Large allocations of a thread until one fails.
    static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
}

struct Failing;

impl Failing {
    fn fails(bytes: usize) -> bool {
        // A thread that ends has none any more.
        bytes >= LARGE && LEFT.try_with(|left| left.replace(left.get().wrapping_sub(1))) == Ok(0)
    }
}

#[allow(unsafe_code, reason = "an allocator is unsafe by its trait")]
// SAFETY: the system's allocator, but for null, which is any allocator's answer where it has nothing.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        if Self::fails(layout.size()) { null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        if Self::fails(layout.size()) { null_mut() } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's.
        if Self::fails(size) { null_mut() } else { unsafe { System.realloc(old, layout, size) } }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// What a program does with a model, from its files to a file of outputs.
fn work(model: &Path, inputs: &NamedTensors, to: &Path) -> Result<()> {
    let outputs = Engine::cpu().load(model)?.run(inputs, &mut |_, _| {})?;
    write_tensors(to, &outputs)
}

#[test]
fn the_nth_large_allocation_fails() {
    let ids = Tensor::i64(vec![2, 256], (0..512).map(|i| 10 + i % 200).collect());
    let pixels = Tensor::f32(vec![3, 3, 64, 64], vec![0.3; 9 * 64 * 64]);
    let cases = [("text-tiny", "input_ids", ids), ("shapes-tiny", "pixel_values", pixels)];
    for (case, input, tensor) in cases {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(case);
        let inputs = NamedTensors::from([(input.to_owned(), tensor.expect("an input"))]);
        let folder = tempfile::tempdir().expect("a folder");
        let to = folder.path().join("outputs.safetensors");
        work(&model, &inputs, &to).expect("nothing fails");
        let expected = read_tensors(&to).expect("outputs");
        let (mut errors, mut n) = (0, 0);
        loop {
            std::fs::remove_file(&to).expect("removed");
            LEFT.set(n);
            let ended = work(&model, &inputs, &to);
            let left = LEFT.replace(u64::MAX);
            if let Err(error) = &ended {
                assert!(matches!(error, Error::Limit { .. }), "{case} at {n}: {error}");
                let there = std::fs::read_dir(folder.path()).expect("a folder").count();
                assert_eq!(there, 0, "{case} at {n}");
                errors += 1;
                work(&model, &inputs, &to).expect("nothing fails");
            }
            assert!(read_tensors(&to).expect("outputs") == expected, "{case} at {n}: other bits");
            if left <= n {
                break;
            }
            n += 1;
        }
        println!("{case}: {n} large allocations, {errors} errors");
        assert!(errors > 5, "{errors} of {n}");
    }
}
