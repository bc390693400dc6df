//! The server, driven from outside: requests in, answers out, on a clock that tests wind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admin;
mod assertion;
mod authority;
mod certificate;
mod documents;
mod dpop;
mod ended;
mod exchange;
mod fapi;
mod feed;
mod foreign;
mod growth;
mod handshake;
mod house;
mod introspection;
mod keycloak;
mod keycloak_openid;
mod keys;
mod looked_up;
mod opaque;
mod published;
mod refresh;
mod registration;
mod reuse;
mod revoking;
mod signing;
mod socket;
mod status_list;
mod token;
mod vendors;
mod watched;
