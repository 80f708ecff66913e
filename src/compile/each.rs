//! Work on many files, by one thread for each processor.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::load::{File, Tree};

/// How many files a thread takes at a time: neighbours in a pack are made from each other.
const BLOCK: usize = 64;

/// Those indices of `files` in the order in which they are read fastest. To find that takes longer
/// than to read a few.
pub(super) fn in_order(tree: &Tree, files: &[File], indices: Vec<usize>) -> Vec<usize> {
    if indices.len() > BLOCK { tree.fastest_order(files, indices) } else { indices }
}

/// What `work` makes of the files at `indices`, in the order of these. Each thread, one for each
/// processor, has a state of its own and takes files as long as there are any.
pub(super) fn each<S, T: Send>(
    files: &[File],
    indices: &[usize],
    begin: impl Fn() -> S + Sync,
    work: impl Fn(&S, usize, &File) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let state = begin();
        let mut mine = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(block) = indices.chunks(BLOCK).nth(number) else { return mine };
            let block = block.iter().filter_map(|&i| Some((i, files.get(i)?)));
            let done: Vec<T> = block.map(|(i, file)| work(&state, i, file)).collect();
            mine.push((number, done));
        }
    };
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = processors.min(indices.len().div_ceil(BLOCK));
    let mut all: Vec<(usize, Vec<T>)> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = if threads > 0 { work() } else { Vec::new() };
        for other in others {
            match other.join() {
                Ok(theirs) => all.extend(theirs),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_unstable_by_key(|(number, _)| *number);
    all.into_iter().flat_map(|(_, done)| done).collect()
}
