//! Decisions taken from bytes. Where these have ended, every decision is the first.

pub(super) struct Choices<'d> {
    rest: &'d [u8],
}

impl<'d> Choices<'d> {
    pub(super) const fn new(rest: &'d [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((&byte, rest)) => {
                self.rest = rest;
                byte
            }
            None => 0,
        }
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    /// A number up to 65,535.
    pub(super) fn wide(&mut self) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()]))
    }

    /// Some bytes, with their number in front.
    pub(super) fn bytes(&mut self) -> &'d [u8] {
        let len = usize::from(self.byte()).min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(len);
        self.rest = rest;
        bytes
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
