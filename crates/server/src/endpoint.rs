//! What answers at the places of a realm.

pub(crate) mod token;
