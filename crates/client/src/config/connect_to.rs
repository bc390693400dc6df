//! Where hosts are to be found, as curl's `--connect-to` has it.

use std::net::SocketAddr;

/// Reads `HOST:PORT:ADDR:PORT2`. The host may be any, the port is not looked at.
pub(super) async fn connect_to(text: &str) -> Result<(String, SocketAddr), String> {
    let wrong = || {
        format!(
            "written HOST:PORT:ADDR:PORT2, such as auth.example:443:127.0.0.1:8443, not {text:?}"
        )
    };
    let (host, rest) = text.split_once(':').ok_or_else(wrong)?;
    let (_, address) = rest.split_once(':').ok_or_else(wrong)?;
    if host.is_empty() {
        return Err(wrong());
    }
    let mut addresses = tokio::net::lookup_host(address).await.map_err(|_| wrong())?;
    addresses.next().map(|address| (host.to_owned(), address)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connect_to_is_written_as_curl_has_it() {
        let (host, address) = connect_to("a.example:443:127.0.0.1:8443").await.unwrap();
        assert_eq!((host.as_str(), address.to_string().as_str()), ("a.example", "127.0.0.1:8443"));
        let (_, address) = connect_to("a.example:443:[::1]:8443").await.unwrap();
        assert_eq!(address.to_string(), "[::1]:8443");
        for wrong in ["", "a", "a:443", "a:443:", "a:443:127.0.0.1", ":443:127.0.0.1:1"] {
            assert!(connect_to(wrong).await.is_err(), "{wrong}");
        }
    }
}
