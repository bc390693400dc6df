//! The server, driven from outside: requests in, answers out, on a clock that tests wind.

mod documents;
mod house;
mod keycloak;
mod keys;
mod refresh;
mod socket;
mod token;
mod vendors;
