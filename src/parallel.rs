//! Loops over parts of arrays: on all threads where the feature `cpu` brings them, else one after the other
//! under the same names.

#[cfg(feature = "cpu")]
pub(crate) use rayon::prelude::*;
#[cfg(not(feature = "cpu"))]
pub(crate) use sequential::*;

/// Has every thread take what `faer` keeps for its products, which would else end the process where there is no room for it
/// (`ulimit -v`).
#[cfg(feature = "cpu")]
pub(crate) fn threads_ready() -> crate::error::Result<()> {
    use std::sync::OnceLock;
    /// What `faer` takes for a thread, its stack, and what its first allocations reserve.
    const OF_A_THREAD: usize = (64 + 8 + 32) << 20;
    static READY: OnceLock<()> = OnceLock::new();
    if READY.get().is_some() {
        return Ok(());
    }
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    // The caller's thread takes part.
    crate::memory::reserve::<u8>(
        format_args!("products of matrices on {threads} threads"),
        (threads + 1) * OF_A_THREAD,
    )?;
    let product = || {
        let (one, mut product) = (faer::Mat::<f32>::identity(16, 16), faer::Mat::zeros(16, 16));
        let sequential = faer::Par::Seq;
        faer::linalg::matmul::matmul(
            &mut product,
            faer::Accum::Replace,
            &one,
            &one,
            1.0,
            sequential,
        );
    };
    product();
    rayon::broadcast(|_| product());
    READY.get_or_init(|| ());
    Ok(())
}

/// Runs a sequence of loops on a thread of the pool, each of which begins where the one before has ended; from outside every one
/// would wake a thread and be waited for. What `work` tells comes to `told` on the caller's thread, meanwhile or later.
#[cfg(feature = "cpu")]
pub(crate) fn in_pool<R: Send>(
    work: impl FnOnce(&mut dyn FnMut(u64, u64)) -> R + Send,
    told: &mut dyn FnMut(u64, u64),
) -> R {
    if rayon::current_thread_index().is_some() {
        return work(told);
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut result = None;
    rayon::in_place_scope(|scope| {
        scope.spawn(|_| {
            // The receiver is there for as long as this goes on, unless `told` panics.
            let mut tell = |done, total| _ = sender.send((done, total));
            result = Some(work(&mut tell));
            drop(sender);
        });
        for (done, total) in receiver {
            told(done, total);
        }
    });
    result.expect("the scope has waited for it")
}

/// There is no pool.
#[cfg(not(feature = "cpu"))]
pub(crate) fn in_pool<R>(
    work: impl FnOnce(&mut dyn FnMut(u64, u64)) -> R,
    told: &mut dyn FnMut(u64, u64),
) -> R {
    work(told)
}

/// Plain loops take nothing.
#[cfg(not(feature = "cpu"))]
pub(crate) fn threads_ready() -> crate::error::Result<()> {
    Ok(())
}

#[cfg(not(feature = "cpu"))]
mod sequential {
    use std::slice::{Chunks, ChunksExact, ChunksExactMut, ChunksMut, Iter, IterMut};

    /// Parts of slices.
    pub(crate) trait ParallelSlice<T> {
        fn par_iter(&self) -> Iter<'_, T>;
        fn par_iter_mut(&mut self) -> IterMut<'_, T>;
        fn par_chunks(&self, size: usize) -> Chunks<'_, T>;
        fn par_chunks_mut(&mut self, size: usize) -> ChunksMut<'_, T>;
        fn par_chunks_exact(&self, size: usize) -> ChunksExact<'_, T>;
        fn par_chunks_exact_mut(&mut self, size: usize) -> ChunksExactMut<'_, T>;
    }

    impl<T> ParallelSlice<T> for [T] {
        fn par_iter(&self) -> Iter<'_, T> {
            self.iter()
        }
        fn par_iter_mut(&mut self) -> IterMut<'_, T> {
            self.iter_mut()
        }
        fn par_chunks(&self, size: usize) -> Chunks<'_, T> {
            self.chunks(size)
        }
        fn par_chunks_mut(&mut self, size: usize) -> ChunksMut<'_, T> {
            self.chunks_mut(size)
        }
        fn par_chunks_exact(&self, size: usize) -> ChunksExact<'_, T> {
            self.chunks_exact(size)
        }
        fn par_chunks_exact_mut(&mut self, size: usize) -> ChunksExactMut<'_, T> {
            self.chunks_exact_mut(size)
        }
    }

    /// What is an iterator already.
    pub(crate) trait IntoParallelIterator: IntoIterator + Sized {
        fn into_par_iter(self) -> Self::IntoIter {
            self.into_iter()
        }
    }

    impl<I: IntoIterator> IntoParallelIterator for I {}

    /// What iterators of threads have beside those of the standard library.
    pub(crate) trait ParallelIterator: Iterator + Sized {
        fn with_min_len(self, _least: usize) -> Self {
            self
        }
        fn for_each_init<S>(self, init: impl Fn() -> S, mut work: impl FnMut(&mut S, Self::Item)) {
            let mut scratch = init();
            self.for_each(|item| work(&mut scratch, item));
        }
        fn find_any(mut self, found: impl FnMut(&Self::Item) -> bool) -> Option<Self::Item> {
            self.find(found)
        }
    }

    impl<I: Iterator> ParallelIterator for I {}

    /// Growing a list.
    pub(crate) trait ParallelExtend<T> {
        fn par_extend(&mut self, items: impl IntoIterator<Item = T>);
    }

    impl<T> ParallelExtend<T> for Vec<T> {
        fn par_extend(&mut self, items: impl IntoIterator<Item = T>) {
            self.extend(items);
        }
    }
}
