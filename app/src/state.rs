//! Signals and memos of any type, over one type of Leptos each.
//!
//! A signal of Leptos is compiled anew for every type that it holds, in 5 KB of WebAssembly; these are
//! compiled once, and hold a box. What they cost is an allocation for each change.

use leptos::prelude::*;
use std::{any::Any, marker::PhantomData};

type Boxed = Box<dyn Any + Send + Sync>;

fn cast<T: 'static>(value: &Boxed) -> &T {
    #[expect(clippy::expect_used, reason = "the box is made where the type is known, and is private")]
    value.downcast_ref().expect("a state of its own type")
}

/// A value that is set.
pub struct State<T> {
    signal: RwSignal<Boxed>,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for State<T> {}

impl<T: Send + Sync + 'static> State<T> {
    /// Holds `value` at first.
    pub fn new(value: T) -> Self {
        Self { signal: RwSignal::new(Box::new(value)), of: PhantomData }
    }

    /// Reads it, and runs the caller again when it is set.
    pub fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(cast(&self.signal.read()))
    }

    /// Reads it.
    pub fn with_untracked<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(cast(&self.signal.read_untracked()))
    }

    /// A copy of it; runs the caller again when it is set.
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        self.with(T::clone)
    }

    /// A copy of it.
    pub fn get_untracked(&self) -> T
    where
        T: Clone,
    {
        self.with_untracked(T::clone)
    }

    /// A copy of it, unless its page is gone; runs the caller again when it is set.
    pub fn try_get(&self) -> Option<T>
    where
        T: Clone,
    {
        self.signal.try_read().map(|value| cast::<T>(&value).clone())
    }

    /// A copy of it, unless its page is gone.
    pub fn try_get_untracked(&self) -> Option<T>
    where
        T: Clone,
    {
        self.signal.try_read_untracked().map(|value| cast::<T>(&value).clone())
    }

    /// Sets it. Of a page that is gone: nothing.
    pub fn set(&self, value: T) {
        if let Some(mut held) = self.signal.try_write() {
            *held = Box::new(value);
        }
    }

    /// Changes it. Of a page that is gone: nothing.
    pub fn update(&self, change: impl FnOnce(&mut T)) {
        if let Some(mut held) = self.signal.try_write()
            && let Some(value) = held.downcast_mut()
        {
            change(value);
        }
    }
}

impl<T: Default + Send + Sync + 'static> Default for State<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// A value that follows from others, and changes only when it differs.
pub struct Derived<T> {
    memo: Memo<Boxed>,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Derived<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Derived<T> {}

impl<T: PartialEq + Send + Sync + 'static> Derived<T> {
    /// Follows from what `derive` reads.
    pub fn new(derive: impl Fn() -> T + Send + Sync + 'static) -> Self {
        type Step = Box<dyn Fn(Option<Boxed>) -> (Boxed, bool) + Send + Sync>;
        fn inner(step: Step) -> Memo<Boxed> {
            Memo::new_owning(step)
        }
        let step: Step = Box::new(move |before| {
            let now = derive();
            let changed = before.is_none_or(|before| *cast::<T>(&before) != now);
            (Box::new(now), changed)
        });
        Self { memo: inner(step), of: PhantomData }
    }

    /// Reads it, and runs the caller again when it changes.
    pub fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(cast(&self.memo.read()))
    }

    /// Reads it.
    pub fn with_untracked<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(cast(&self.memo.read_untracked()))
    }

    /// A copy of it; runs the caller again when it changes.
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        self.with(T::clone)
    }

    /// A copy of it.
    pub fn get_untracked(&self) -> T
    where
        T: Clone,
    {
        self.with_untracked(T::clone)
    }

    /// A copy of it, unless its page is gone.
    pub fn try_get(&self) -> Option<T>
    where
        T: Clone,
    {
        self.memo.try_read().map(|value| cast::<T>(&value).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    #[test]
    fn a_derived_value_changes_only_when_it_differs() {
        let owner = Owner::new_root(None);
        owner.with(|| {
            let number = State::new(1);
            let even = Derived::new(move || number.get() % 2 == 0);
            let runs = Arc::new(AtomicU32::new(0));
            let counted = runs.clone();
            let text = Derived::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                if even.get() { "even".to_owned() } else { "odd".to_owned() }
            });
            assert_eq!(text.get(), "odd");
            number.set(3);
            assert_eq!((text.get(), runs.load(Ordering::Relaxed)), ("odd".to_owned(), 1));
            number.update(|n| *n += 1);
            assert_eq!((text.get(), runs.load(Ordering::Relaxed)), ("even".to_owned(), 2));
        });
    }
}
