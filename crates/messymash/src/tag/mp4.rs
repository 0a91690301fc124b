//! M4A: a tree of atoms, where tags lie in `moov/udta/meta/ilst` and tables tell where in the file each piece of sound is.

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::source::{Piece, Source, feed};
use super::{Field, PRIVATE, refused};
use crate::Result;

/// Atoms of one level that are looked through.
const MAX_ATOMS: usize = 100_000;
/// Atoms of the file itself that are looked through; each place of sound is looked for among them.
const MAX_TOP: usize = 1_000;
/// Atoms within atoms; tables lie six deep.
const MAX_DEPTH: usize = 16;
/// Atoms that hold atoms on the way to what has to be changed.
const CONTAINERS: [&[u8; 4]; 7] = [b"moov", b"udta", b"meta", b"trak", b"mdia", b"minf", b"stbl"];
/// Whose names the private field's is: the one that all programs use.
const MEAN: &[u8] = b"com.apple.iTunes";
const GENRE: &[u8; 4] = b"\xA9gen";

pub(super) struct Mp4 {
    /// Of the file.
    atoms: Vec<Atom>,
    moov: Range<u64>,
    /// `moov` with its header.
    tree: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq)]
struct Atom {
    id: [u8; 4],
    all: Range<u64>,
    body: u64,
}

/// An atom within bytes in memory.
#[derive(Debug, Clone, PartialEq)]
struct Inner {
    id: [u8; 4],
    all: Range<usize>,
    body: Range<usize>,
}

impl Mp4 {
    pub(super) fn open(source: &mut Source) -> Result<Self> {
        let mut atoms = Vec::new();
        let mut start = 0;
        while start < source.len() {
            let head = source.at_most(start, 16)?;
            let (size, body) = size_of(&head).ok_or_else(damaged)?;
            let end = if size == 0 {
                source.len()
            } else {
                start.saturating_add(size)
            };
            if end > source.len() || start + body > end || atoms.len() == MAX_TOP {
                return Err(damaged());
            }
            let id = [head[4], head[5], head[6], head[7]];
            if matches!(&id, b"moof" | b"sidx") {
                return Err(refused(
                    "it is cut into fragments, as for streaming; their places could not be kept true",
                ));
            }
            atoms.push(Atom {
                id,
                all: start..end,
                body: start + body,
            });
            start = end;
        }
        let mut moovs = atoms.iter().filter(|atom| &atom.id == b"moov");
        let (Some(moov), None) = (moovs.next(), moovs.next()) else {
            return Err(damaged());
        };
        let moov = moov.all.clone();
        let tree = source.bytes(moov.clone())?;
        let whole = children(&tree, 0..tree.len())?;
        if whole.len() != 1 || whole[0].body.start != 8 {
            return Err(damaged());
        }
        Ok(Self { atoms, moov, tree })
    }

    pub(super) fn values(&self, field: Field) -> Result<Vec<String>> {
        let mut values = Vec::new();
        for item in self.items()?.iter().filter(|item| self.is_of(item, field)) {
            for data in children(&self.tree, item.body.clone())? {
                if &data.id == b"data" {
                    let text = self.tree[data.body].get(8..).unwrap_or_default();
                    let text = String::from_utf8(text.to_vec());
                    values.push(text.map_err(|_| refused("its genre is no UTF-8 text"))?);
                }
            }
        }
        values.retain(|value| !value.is_empty());
        Ok(values)
    }

    /// Whether a genre stands there by its number.
    pub(super) fn elsewhere(&self) -> Result<bool> {
        Ok(self.items()?.iter().any(|item| &item.id == b"gnre"))
    }

    pub(super) fn feed_rest(&self, source: &mut Source, field: Field, digest: &mut Sha256) -> Result<()> {
        for atom in &self.atoms {
            match &atom.id {
                b"moov" => {
                    let tree = &children(&self.tree, 0..self.tree.len())?[0];
                    self.feed_tree((b"file", 0), tree, field, digest)?;
                }
                b"free" | b"skip" => {}
                id => {
                    digest.update(id);
                    digest.update((atom.all.end - atom.body).to_le_bytes());
                    source.feed(atom.body..atom.all.end, digest)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn with(&self, field: Field, values: &[String]) -> Result<Vec<Piece>> {
        let mut list = Vec::new();
        let mut place = None;
        for item in self.items()? {
            if self.is_of(&item, field) {
                place.get_or_insert(list.len());
            } else {
                list.extend_from_slice(&self.tree[item.all]);
            }
        }
        let place = place.unwrap_or(list.len());
        list.splice(place..place, item(field, values));
        let mut tree = self.tree.clone();
        self.put_list(&mut tree, list)?;
        let delta = tree.len() as i64 - self.tree.len() as i64;
        if delta != 0 {
            let whole = children(&tree, 0..tree.len())?;
            self.shift(&mut tree, &whole, delta, 0)?;
        }
        let end = self.atoms.last().map_or(self.moov.end, |atom| atom.all.end);
        Ok(vec![
            Piece::Old(0..self.moov.start),
            Piece::Bytes(tree),
            Piece::Old(self.moov.end..end),
        ])
    }

    /// Way from `moov` down to `ilst`, as far as it goes.
    fn way(&self) -> Result<Vec<Inner>> {
        let mut way = children(&self.tree, 0..self.tree.len())?;
        way.truncate(1);
        for id in [b"udta", b"meta", b"ilst"] {
            let Some(last) = way.last() else { break };
            let next = inside(&self.tree, last)?.into_iter().find(|atom| &atom.id == id);
            match next {
                Some(next) => way.push(next),
                None => break,
            }
        }
        Ok(way)
    }

    fn items(&self) -> Result<Vec<Inner>> {
        match &self.way()?[..] {
            [.., list] if &list.id == b"ilst" => children(&self.tree, list.body.clone()),
            _ => Ok(Vec::new()),
        }
    }

    /// Puts a list of items in place of the one there is.
    fn put_list(&self, tree: &mut Vec<u8>, list: Vec<u8>) -> Result<()> {
        let way = self.way()?;
        let whole = way.len() == 4;
        let mut new = atom(b"ilst", &list);
        if way.len() < 3 {
            let handler = atom(b"hdlr", b"\0\0\0\0\0\0\0\0mdirappl\0\0\0\0\0\0\0\0\0");
            new = atom(b"meta", &[&[0; 4], &handler[..], &new].concat());
        }
        if way.len() < 2 {
            new = atom(b"udta", &new);
        }
        let deepest = way.last().ok_or_else(damaged)?;
        // Behind the last atom: some files end `udta` with four zeros.
        let end = inside(tree, deepest)?
            .last()
            .map_or(deepest.body.end, |last| last.all.end);
        let old = if whole { deepest.all.clone() } else { end..end };
        let mut delta = new.len() as i64 - (old.end - old.start) as i64;
        tree.splice(old.clone(), new);
        // Free room right behind the list takes up the difference.
        let behind = (old.end as i64 + delta) as usize;
        if whole
            && let Some((size, 8)) = tree.get(behind..).and_then(size_of)
            && &tree[behind + 4..behind + 8] == b"free"
            && size as i64 - delta >= 8
            && behind as i64 + size as i64 - delta <= way[2].body.end as i64
        {
            let (old_end, left) = (behind + size as usize, (size as i64 - delta) as usize);
            tree.splice(behind..old_end, atom(b"free", &vec![0; left - 8]));
            delta = 0;
        }
        let parents = if whole { &way[..3] } else { &way[..] };
        for parent in parents {
            let place = parent.all.start;
            let size = i64::from(be(&tree[place..place + 4])) + delta;
            let size = u32::try_from(size).map_err(|_| damaged())?;
            tree[place..place + 4].copy_from_slice(&size.to_be_bytes());
        }
        Ok(())
    }

    /// Moves the places told by the tables of all tracks that lie behind `moov`.
    fn shift(&self, tree: &mut [u8], atoms: &[Inner], delta: i64, depth: usize) -> Result<()> {
        if depth == MAX_DEPTH {
            return Err(damaged());
        }
        for atom in atoms {
            let entries = table(tree, atom);
            match &atom.id {
                b"stco" => {
                    for place in entries.step_by(4) {
                        let old = i64::from(be(&tree[place..place + 4]));
                        if old >= self.moov.end as i64 {
                            let new = u32::try_from(old + delta)
                                .map_err(|_| refused("with its tag it would exceed 4 GiB"))?;
                            tree[place..place + 4].copy_from_slice(&new.to_be_bytes());
                        }
                    }
                }
                b"co64" => {
                    for place in entries.step_by(8) {
                        let old = be64(&tree[place..place + 8]);
                        if old >= self.moov.end {
                            let new = old.checked_add_signed(delta).ok_or_else(damaged)?;
                            tree[place..place + 8].copy_from_slice(&new.to_be_bytes());
                        }
                    }
                }
                id if CONTAINERS.contains(&id) && !matches!(id, b"udta" | b"meta") => {
                    let inner = inside(tree, atom)?;
                    self.shift(tree, &inner, delta, depth + 1)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes an atom into the digest: by its parent and how deep it lies.
    fn feed_tree(
        &self,
        (parent, depth): (&[u8; 4], usize),
        atom: &Inner,
        field: Field,
        digest: &mut Sha256,
    ) -> Result<()> {
        if depth == MAX_DEPTH {
            return Err(damaged());
        }
        let tree = &self.tree;
        let entries = table(tree, atom);
        match &atom.id {
            b"free" | b"skip" => {}
            // It comes with the list where there was none.
            b"hdlr" if parent == b"meta" => {}
            b"ilst" => {
                let items = children(tree, atom.body.clone())?;
                for item in items.iter().filter(|item| !self.is_of(item, field)) {
                    feed(&tree[item.all.clone()], digest);
                }
            }
            b"stco" => {
                for place in entries.step_by(4) {
                    self.feed_place(u64::from(be(&tree[place..place + 4])), digest);
                }
            }
            b"co64" => {
                for place in entries.step_by(8) {
                    self.feed_place(be64(&tree[place..place + 8]), digest);
                }
            }
            id if CONTAINERS.contains(&id) => {
                if !matches!(id, b"udta" | b"meta") {
                    digest.update(id);
                }
                for inner in inside(tree, atom)? {
                    self.feed_tree((&atom.id, depth + 1), &inner, field, digest)?;
                }
            }
            _ => feed(&tree[atom.all.clone()], digest),
        }
        Ok(())
    }

    /// Takes a place in the file into the digest as one in the atom of sound it lies in.
    fn feed_place(&self, place: u64, digest: &mut Sha256) {
        let sounds = self
            .atoms
            .iter()
            .filter(|atom| &atom.id != b"moov" && &atom.id != b"free");
        let (number, start) = sounds
            .enumerate()
            .find(|(_, atom)| (atom.body..atom.all.end).contains(&place))
            .map_or((usize::MAX, 0), |(number, atom)| (number, atom.body));
        digest.update((number as u64).to_le_bytes());
        digest.update((place - start).to_le_bytes());
    }

    fn is_of(&self, item: &Inner, field: Field) -> bool {
        match field {
            Field::Genre => &item.id == GENRE,
            Field::Private => {
                let part = |id: &[u8; 4]| {
                    let parts = children(&self.tree, item.body.clone()).ok()?;
                    let body = parts.into_iter().find(|part| &part.id == id)?.body;
                    self.tree[body].get(4..)
                };
                &item.id == b"----"
                    && part(b"mean") == Some(MEAN)
                    && part(b"name").is_some_and(|name| name.eq_ignore_ascii_case(PRIVATE.as_bytes()))
            }
        }
    }
}

/// An item of the list; nothing for no values.
fn item(field: Field, values: &[String]) -> Vec<u8> {
    if values.is_empty() {
        return Vec::new();
    }
    // 1: text in UTF-8; no language.
    let data = values
        .iter()
        .map(|value| atom(b"data", &[&[0, 0, 0, 1, 0, 0, 0, 0], value.as_bytes()].concat()));
    let data: Vec<u8> = data.flatten().collect();
    match field {
        Field::Genre => atom(GENRE, &data),
        Field::Private => {
            let mean = atom(b"mean", &[&[0; 4], MEAN].concat());
            let name = atom(b"name", &[&[0; 4], PRIVATE.as_bytes()].concat());
            atom(b"----", &[mean, name, data].concat())
        }
    }
}

fn damaged() -> crate::Error {
    refused("its tree of atoms is damaged")
}

fn atom(id: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes(), &id[..], body].concat()
}

fn be(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn be64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Size of an atom (0: to the end) and of its header.
fn size_of(head: &[u8]) -> Option<(u64, u64)> {
    let size = head.get(..8).map(be)?;
    match size {
        1 => Some((head.get(8..16).map(be64)?, 16)),
        0 => Some((0, 8)),
        size => Some((u64::from(size), 8)),
    }
}

/// Atoms that fill a range, but for a rest too short for one or of zeros.
fn children(tree: &[u8], range: Range<usize>) -> Result<Vec<Inner>> {
    let mut atoms = Vec::new();
    let mut start = range.start;
    while start + 8 <= range.end {
        let (size, header) = size_of(&tree[start..range.end]).ok_or_else(damaged)?;
        let (size, header) = (size as usize, header as usize);
        if size < header || size > range.end - start || atoms.len() == MAX_ATOMS {
            return Err(damaged());
        }
        let id = [tree[start + 4], tree[start + 5], tree[start + 6], tree[start + 7]];
        let all = start..start + size;
        let body = start + header..start + size;
        start = all.end;
        atoms.push(Inner { id, all, body });
    }
    Ok(atoms)
}

/// The atoms within a container; `meta` has a version before them, except in QuickTime's own files.
fn inside(tree: &[u8], atom: &Inner) -> Result<Vec<Inner>> {
    let mut body = atom.body.clone();
    if &atom.id == b"meta" && tree.get(body.start + 4..body.start + 8) != Some(b"hdlr") {
        body.start = (body.start + 4).min(body.end);
    }
    children(tree, body)
}

/// Places of the entries of a table: version and number of entries come first.
fn table(tree: &[u8], atom: &Inner) -> Range<usize> {
    let width = match &atom.id {
        b"stco" => 4,
        b"co64" => 8,
        _ => return 0..0,
    };
    let start = (atom.body.start + 8).min(atom.body.end);
    let said = tree.get(atom.body.start + 4..start).map_or(0, be) as usize;
    let fit = (atom.body.end - start) / width;
    start..start + width * said.min(fit)
}
