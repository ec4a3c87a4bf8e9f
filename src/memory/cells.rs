//! Cells in which requests are counted: found without a lock by whoever remembers where, and else
//! by key.

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};

/// Who knows what a cell's content is worth.
pub(crate) trait Judge<T> {
    /// Whether nothing would be lost with it.
    fn is_idle(&self, content: &T) -> bool;

    /// How much would be lost with it.
    fn weight(&self, content: &T) -> u64;
}

/// A growing number of cells, each with a lock of its own. What is idle makes place for what is new;
/// where all places are taken, so does what matters least of a few.
///
/// A cell never moves, so its place is a number that stays good for as long as the cell has the same
/// key. Keys are hashes that nobody outside can aim.
pub(crate) struct Cells<T> {
    rows: Box<[OnceLock<Row<T>>]>,
    shards: Box<[RwLock<HashTable<u32>>]>,
    growth: Mutex<Growth>,
    capacity: u32,
}

/// Of [`ROW`] chunks.
type Row<T> = Box<[OnceLock<Chunk<T>>]>;
/// Of [`CHUNK`] cells.
type Chunk<T> = Box<[Cell<T>]>;

/// Key and lock come first, beside what is first of the content.
#[repr(C)]
pub(crate) struct Cell<T> {
    /// Changed only under both the lock of the content and that of the growth.
    key: AtomicU64,
    content: Mutex<T>,
}

#[derive(Debug, Default)]
struct Growth {
    /// How many cells have ever been used.
    made: u32,
    /// The cell that is looked at next for being idle.
    hand: u32,
}

impl<T: Default> Cells<T> {
    /// What one takes, beside some ten bytes by which it is found.
    #[cfg(test)]
    pub(crate) const BYTES: usize = size_of::<Cell<T>>();

    /// At most this many, and at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, MOST);
        let rows = capacity.div_ceil(ROW * CHUNK);
        Self {
            rows: (0..rows).map(|_| OnceLock::new()).collect(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            growth: Mutex::default(),
            capacity: capacity as u32,
        }
    }

    /// Acts on the cell in this place if it has a key that is right.
    pub(crate) fn at<R>(
        &self,
        place: u32,
        is_right: impl FnOnce(u64) -> bool,
        act: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        let cell = self.cell(place)?;
        let mut content = cell.content.lock();
        is_right(cell.key.load(Ordering::Relaxed)).then(|| act(&mut content))
    }

    /// Acts on the cell of this key, if there is one.
    pub(crate) fn known<R>(&self, key: u64, act: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.at(self.find(key)?, |own| own == key, act)
    }

    /// Acts on the cell of this key, which is made where there is none, and tells its place.
    pub(crate) fn of<R>(
        &self,
        key: u64,
        judge: &impl Judge<T>,
        act: impl FnOnce(&mut T) -> R,
    ) -> (u32, R) {
        let mut act = Some(act);
        loop {
            let place = self.find(key).unwrap_or_else(|| self.claim(key, judge));
            // It may have been given to another key in between.
            let done = self.at(
                place,
                |own| own == key,
                |content| act.take().map(|act| act(content)),
            );
            if let Some(Some(done)) = done {
                return (place, done);
            }
        }
    }

    fn cell(&self, place: u32) -> Option<&Cell<T>> {
        let place = place as usize;
        let row = self.rows.get(place / (ROW * CHUNK))?.get()?;
        row[place / CHUNK % ROW].get()?.get(place % CHUNK)
    }

    fn find(&self, key: u64) -> Option<u32> {
        let shard = self.shard(key).read();
        shard.find(key, |place| self.key(*place) == key).copied()
    }

    fn key(&self, place: u32) -> u64 {
        let cell = self.cell(place);
        cell.map_or(0, |cell| cell.key.load(Ordering::Relaxed))
    }

    fn shard(&self, key: u64) -> &RwLock<HashTable<u32>> {
        // The table takes the lowest and the highest bits.
        &self.shards[(key >> 32) as usize % SHARDS]
    }

    /// Finds a place for a key that has none.
    fn claim(&self, key: u64, judge: &impl Judge<T>) -> u32 {
        let mut growth = self.growth.lock();
        if let Some(place) = self.find(key) {
            return place;
        }
        let (place, before) = self.given(key, &mut growth, judge);
        let mut shard = self.shard(before).write();
        if let Ok(entry) = shard.find_entry(before, |other| *other == place) {
            entry.remove();
        }
        drop(shard);
        let mut shard = self.shard(key).write();
        shard.insert_unique(key, place, |other| self.key(*other));
        place
    }

    /// Gives a cell to this key, and tells whose it was before.
    fn given(&self, key: u64, growth: &mut Growth, judge: &impl Judge<T>) -> (u32, u64) {
        let idle = (0..LOOKS.min(growth.made)).find_map(|_| {
            let place = growth.turn();
            let cell = self.cell(place)?;
            // Given under the same lock, or what its owner counts in between would be lost.
            let mut content = cell.content.lock();
            let is_idle = judge.is_idle(&content);
            is_idle.then(|| (place, cell.give(key, &mut content)))
        });
        if let Some(given) = idle {
            return given;
        }
        let place = if growth.made < self.capacity {
            let new = growth.made;
            growth.made += 1;
            self.make(new);
            new
        } else {
            self.lightest(growth, judge)
        };
        let cell = self.cell(place).expect("made before it was used");
        (place, cell.give(key, &mut cell.content.lock()))
    }

    fn lightest(&self, growth: &mut Growth, judge: &impl Judge<T>) -> u32 {
        let looked_at = (0..LOOKS).map(|_| growth.turn());
        let weight = |place: &u32| {
            let cell = self.cell(*place)?;
            Some(judge.weight(&cell.content.lock()))
        };
        looked_at.min_by_key(weight).expect("it looks at several")
    }

    fn make(&self, place: u32) {
        let place = place as usize;
        let row = &self.rows[place / (ROW * CHUNK)];
        let row = row.get_or_init(|| (0..ROW).map(|_| OnceLock::new()).collect());
        let cell = || Cell {
            key: AtomicU64::new(0),
            content: Mutex::default(),
        };
        row[place / CHUNK % ROW].get_or_init(|| (0..CHUNK).map(|_| cell()).collect());
    }
}

impl<T: Default> Cell<T> {
    /// To this key, with nothing in it; whose it was before.
    fn give(&self, key: u64, content: &mut T) -> u64 {
        *content = T::default();
        self.key.swap(key, Ordering::Relaxed)
    }
}

impl Growth {
    fn turn(&mut self) -> u32 {
        let place = self.hand % self.made;
        self.hand = place + 1;
        place
    }
}

impl<T> fmt::Debug for Cells<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells")
            .field("capacity", &self.capacity)
            .field("growth", &self.growth)
            .finish_non_exhaustive()
    }
}

/// Chunks in a row.
const ROW: usize = 1 << 10;
/// Cells in a chunk.
const CHUNK: usize = 1 << 10;
/// Cells in all: a place has 26 bits.
pub(crate) const MOST: usize = (1 << 26) - 1;
const SHARDS: usize = 64;
/// Cells that are looked at before a new one is made.
const LOOKS: u32 = 8;

#[cfg(test)]
mod tests;
