//! Memory to work in: aligned buffers that threads keep, and matrices that several tasks write to.

use std::cell::RefCell;
use std::marker::PhantomData;

/// A cache line. Vectors of it start where a vector register is loaded without touching two lines.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// What a buffer can be seen as: every bit pattern is a value, and 64 bytes hold a whole number of them.
///
/// # Safety
/// Only for types of which this is true.
pub(crate) unsafe trait Plain: Copy + Send + Sync + 'static {}
// SAFETY: plain numbers.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for i16 {}
// SAFETY: as above.
unsafe impl Plain for i8 {}
// SAFETY: as above.
unsafe impl Plain for u8 {}

/// Zeros to begin with, aligned to 64 bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffer {
    lines: Vec<Line>,
}

impl Buffer {
    /// Room for `len` elements of `T`.
    pub(crate) fn new<T: Plain>(len: usize) -> Self {
        Self {
            lines: vec![Line([0; 64]); lines_of::<T>(len)],
        }
    }

    /// Grows to `len` elements of `T`; what it held stays.
    fn reserve<T: Plain>(&mut self, len: usize) {
        if self.lines.len() < lines_of::<T>(len) {
            self.lines.resize(lines_of::<T>(len), Line([0; 64]));
        }
    }

    pub(crate) fn get<T: Plain>(&self) -> &[T] {
        let len = size_of_val(&self.lines[..]) / size_of::<T>();
        // SAFETY: the lines are initialised and aligned to 64 bytes, and any bits are a T.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), len) }
    }

    pub(crate) fn get_mut<T: Plain>(&mut self) -> &mut [T] {
        let len = size_of_val(&self.lines[..]) / size_of::<T>();
        // SAFETY: as above; borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), len) }
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.lines[..])
    }
}

fn lines_of<T>(len: usize) -> usize {
    (len * size_of::<T>()).div_ceil(64)
}

/// A buffer of the thread with room for `len` elements of `T`, so that no task asks the system for memory.
///
/// What it holds is what the last task left. It is taken, not borrowed: work that comes back here on the same thread,
/// nested or stolen, gets another one.
pub(crate) fn with_scratch<T: Plain, R>(len: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
    thread_local! {
        static SPARE: RefCell<Vec<Buffer>> = const { RefCell::new(Vec::new()) };
    }
    // The largest at hand: they end up as large as the largest work of their depth, and no larger.
    let mut buffer = SPARE.with(|spare| {
        let mut spare = spare.borrow_mut();
        let largest = (0..spare.len()).max_by_key(|&i| spare[i].lines.len());
        largest.map(|i| spare.swap_remove(i)).unwrap_or_default()
    });
    buffer.reserve::<T>(len);
    let result = work(&mut buffer.get_mut::<T>()[..len]);
    SPARE.with(|spare| spare.borrow_mut().push(buffer));
    result
}

/// Cuts `slice` into parts of these lengths.
pub(crate) fn split<const N: usize, T>(slice: &mut [T], lengths: [usize; N]) -> [&mut [T]; N] {
    let mut rest = slice;
    lengths.map(|len| {
        let (part, tail) = std::mem::take(&mut rest).split_at_mut(len);
        rest = tail;
        part
    })
}

/// A row-major matrix that several tasks write to, each to rows and columns of its own.
pub(crate) struct SharedRows<'a> {
    data: *mut f32,
    len: usize,
    stride: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: `row` is the only access, and its contract forbids that two tasks write to the same elements.
unsafe impl Sync for SharedRows<'_> {}

impl<'a> SharedRows<'a> {
    pub(crate) fn new(data: &'a mut [f32], stride: usize) -> Self {
        Self {
            data: data.as_mut_ptr(),
            len: data.len(),
            stride,
            borrowed: PhantomData,
        }
    }

    /// `len` elements of a row, from `column` on.
    ///
    /// # Safety
    /// No other task may touch the same elements while the slice lives.
    ///
    /// # Panics
    /// If they reach beyond the row or the matrix.
    #[allow(clippy::mut_from_ref)] // The point of the type; its callers answer for it.
    pub(crate) unsafe fn row(&self, row: usize, column: usize, len: usize) -> &'a mut [f32] {
        let at = row * self.stride + column;
        assert!(column + len <= self.stride && at + len <= self.len);
        // SAFETY: in bounds by the assertion, unshared by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(at), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_scratch_is_not_shared_and_is_aligned() {
        with_scratch::<f32, _>(100, |outer| {
            outer.fill(1.0);
            with_scratch::<i8, _>(1000, |inner| {
                inner.fill(7);
                assert_eq!(inner.as_ptr().align_offset(64), 0);
                assert_eq!(inner.len(), 1000);
            });
            assert!(outer.iter().all(|&x| x == 1.0));
            assert_eq!(outer.as_ptr().align_offset(64), 0);
        });
    }

    #[test]
    fn a_buffer_holds_what_it_was_asked_for() {
        let mut buffer = Buffer::new::<i16>(33);
        assert!(buffer.get::<i16>().len() >= 33);
        buffer.get_mut::<i16>()[32] = -5;
        assert_eq!((buffer.get::<i16>()[32], buffer.bytes()), (-5, 128));
        let mut three = [1, 2, 3];
        let [a, b] = split(&mut three, [1, 2]);
        assert_eq!((&*a, &*b), (&[1][..], &[2, 3][..]));
    }
}
