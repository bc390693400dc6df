//! The part of the log that a node holds, and who reads what of it.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use tokenry_core::Timestamp;
use tokenry_core::revocation::{Ended, Event};
use tokenry_store::Logged;

/// How many rows are held, of some 300 bytes each: all that most stores have, and what a revocation a second leaves in
/// two hours. Who has missed more reads it from the store.
const HELD: usize = 8_192;

/// How much is told in one piece: as much as a connection takes at once.
const PIECE: usize = 16 * 1024;

/// A place in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Mark {
    pub(super) number: u64,
    /// When the row was written: another store's row of this number was written at another time.
    pub(super) at: Timestamp,
}

/// The one form that is written: the number, and when it was written in milliseconds.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.number, self.at.as_millis())
    }
}

/// No cursor of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NoMark;

impl FromStr for Mark {
    type Err = NoMark;

    fn from_str(text: &str) -> Result<Self, NoMark> {
        let (number, at) = text.split_once('-').ok_or(NoMark)?;
        let number = number.parse().map_err(|_| NoMark)?;
        let at = Timestamp::from_millis(at.parse().map_err(|_| NoMark)?);
        let mark = Self { number, at };
        if mark.to_string() == text { Ok(mark) } else { Err(NoMark) }
    }
}

impl From<&Logged> for Mark {
    fn from(row: &Logged) -> Self {
        Self { number: row.number, at: row.at }
    }
}

impl Mark {
    /// The cursor of who reads so.
    pub(super) fn cursor(self, reads: &Reads) -> String {
        format!("{self}{}", reads.view())
    }

    /// The mark of a cursor that was given to somebody who reads so.
    pub(super) fn of_cursor(cursor: &[u8], reads: &Reads) -> Option<Self> {
        std::str::from_utf8(cursor).ok()?.strip_suffix(reads.view())?.parse().ok()
    }
}

/// What a follower is told.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    pub(crate) realm: String,
    pub(crate) client: String,
    /// Everything of the realm, and not only what concerns tokens of the client.
    pub(crate) everything: bool,
    /// Whether tokens of the client may be about users.
    pub(crate) users: bool,
}

impl Reads {
    /// What a cursor ends with. Who is told more than before has missed something that lies before the cursor.
    const fn view(&self) -> &'static str {
        match (self.everything, self.users) {
            (true, _) => "",
            (false, true) => "-u",
            (false, false) => "-o",
        }
    }
}

/// A row, ready to be told.
#[derive(Debug)]
pub(super) struct Row {
    mark: Mark,
    realm: String,
    client: Option<String>,
    about_user: bool,
    /// The event, and where its cursor ends.
    text: String,
    cursor_ends: usize,
}

impl Row {
    pub(super) fn new(logged: Logged) -> Self {
        let mark = Mark::from(&logged);
        let Logged { realm, client, revocation, .. } = logged;
        // What is about a client has that client.
        let about_user = client.is_none() && matches!(revocation.ended, Ended::Subject { .. });
        let text = Event::Revoked { cursor: mark.to_string(), revocation }.encode();
        let cursor_ends = text.find('\n').unwrap_or_default();
        Self { mark, realm, client, about_user, text, cursor_ends }
    }

    fn is_for(&self, reads: &Reads) -> bool {
        self.realm == reads.realm
            && (reads.everything
                || match &self.client {
                    Some(client) => *client == reads.client,
                    None => !self.about_user || reads.users,
                })
    }
}

/// What comes next for a follower.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) text: Bytes,
    pub(super) events: u64,
    /// Up to where it has been told; as before, where there was nothing.
    pub(super) mark: Option<Mark>,
}

impl Piece {
    /// As much of these rows as is told at once.
    pub(super) fn of<'r>(
        rows: impl Iterator<Item = &'r Row>,
        reads: &Reads,
        mark: Option<Mark>,
    ) -> Self {
        let mut piece = Self { text: Bytes::new(), events: 0, mark };
        let mut text = String::new();
        for row in rows {
            piece.mark = Some(row.mark);
            if !row.is_for(reads) {
                continue;
            }
            piece.events += 1;
            let (cursor, rest) = row.text.split_at(row.cursor_ends);
            [cursor, reads.view(), rest].into_iter().for_each(|part| text.push_str(part));
            if text.len() >= PIECE {
                break;
            }
        }
        piece.text = text.into();
        piece
    }
}

/// The newest rows.
#[derive(Debug, Default)]
pub(super) struct Log {
    rows: VecDeque<Row>,
    /// All rows after this number are held.
    from: u64,
    head: Option<Mark>,
}

impl Log {
    pub(super) const fn head(&self) -> Option<Mark> {
        self.head
    }

    /// Takes the rows from the newest one on. `false`: they are of another log.
    pub(super) fn take(&mut self, rows: Vec<Logged>) -> bool {
        let is_ours = match (self.head, rows.first()) {
            (None, _) => true,
            (Some(_), None) => false,
            // Another row may have taken its place since; that one comes after it.
            (Some(head), Some(first)) => first.number > head.number || Mark::from(first) == head,
        };
        if !is_ours {
            return false;
        }
        let known = self.head.map_or(0, |head| head.number);
        for row in rows.into_iter().filter(|row| row.number > known) {
            let row = Row::new(row);
            self.head = Some(row.mark);
            self.rows.push_back(row);
        }
        while self.rows.len() > HELD {
            self.from = self.rows.pop_front().map_or(self.from, |row| row.mark.number);
        }
        true
    }

    /// What follows a mark. `None`: not all of it is held.
    pub(super) fn after(&self, mark: Option<Mark>, reads: &Reads) -> Option<Piece> {
        let number = mark.map_or(0, |mark| mark.number);
        if number < self.from {
            return None;
        }
        let start = self.rows.partition_point(|row| row.mark.number <= number);
        Some(Piece::of(self.rows.range(start..), reads, mark))
    }

    /// Whether this mark is of this log; `None`: it is not held.
    pub(super) fn has(&self, mark: Mark) -> Option<bool> {
        let at = self.rows.binary_search_by_key(&mark.number, |row| row.mark.number).ok()?;
        Some(self.rows.get(at)?.mark == mark)
    }
}
