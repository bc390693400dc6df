//! JSON Object Signing and Encryption, the part machines need (RFC 7515, 7517, 7518, 7638).
