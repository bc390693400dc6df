//! Requests that say where they go, and rules that say which get a token.

use super::*;

fn proxy(net: &Net) -> ProxyBuilder {
    let rule =
        |patterns: &[&str]| Rule::new(AllowedHosts::new(patterns), keeper(&Server::granting(300)));
    let local = rule(&["localhost:8080"]);
    Proxy::forward([rule(&["*.api.example", "!x.api.example"]), local], net.clone())
}

/// Asks for a URL. Which server got which token, if any was asked.
async fn get(proxy: &Proxy, net: &Net, url: &str) -> (u16, Option<(String, String)>) {
    let before = net.seen().len();
    let fields = ["Host: ignored.example", "Authorization: Basic mine"];
    let (status, _) = ask(proxy, &format!("GET {url}"), &fields, "").await;
    let seen = net.seen().into_iter().skip(before).last();
    (status, seen.map(|seen| (seen.to.clone(), seen.authorization().to_owned())))
}

#[tokio::test(start_paused = true)]
async fn row_273_only_hosts_that_a_rule_names_get_the_token_and_never_in_the_clear() {
    let net = Net::answering(|_, _| ok());
    let proxy = proxy(&net).build();
    const TOKEN: &str = "Bearer a1";
    const OWN: &str = "Basic mine";
    for (url, to, authorization) in [
        ("http://a.api.example/x", "https://a.api.example", TOKEN),
        ("http://B.API.example:80/x", "https://B.API.example", TOKEN),
        ("http://a.api.example:8443/x", "https://a.api.example:8443", TOKEN),
        ("https://a.api.example/x", "https://a.api.example", TOKEN),
        ("http://localhost:8080/x", "http://localhost:8080", TOKEN),
        // It is another server, whatever connections there are.
        ("https://localhost:8080/x", "https://localhost:8080", TOKEN),
        // Nobody else does, and what the program sent is its own.
        ("http://api.example/", "http://api.example", OWN),
        ("http://x.api.example/", "http://x.api.example", OWN),
        ("http://a.b.api.example/", "http://a.b.api.example", OWN),
        ("http://a.api.example.evil.example/", "http://a.api.example.evil.example", OWN),
        ("http://evil.example/a.api.example", "http://evil.example", OWN),
        ("http://evil.example/?http://a.api.example", "http://evil.example", OWN),
        ("http://localhost:8081/", "http://localhost:8081", OWN),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080", OWN),
    ] {
        let expected = Some((to.to_owned(), authorization.to_owned()));
        assert_eq!(get(&proxy, &net, url).await, (200, expected), "{url}");
        let host = net.seen().last().unwrap().field("host").unwrap().to_owned();
        assert!(to.ends_with(&host), "{host}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_273_a_url_that_can_be_read_in_two_ways_goes_nowhere() {
    let net = Net::answering(|_, _| ok());
    let proxy = proxy(&net).build();
    for url in [
        "http://me@a.api.example/",
        "http://a.api.example@evil.example/",
        "http://evil.example%2f.api.example/",
        "http://a%2eapi.example/",
        "http://a.api.example:99999/",
        "http://a.api.example:/",
        "ftp://a.api.example/",
        "/x",
        "//a.api.example/x",
        "*",
    ] {
        let (status, seen) = get(&proxy, &net, url).await;
        assert!(matches!(status, 400) && seen.is_none(), "{url}: {status} {seen:?}");
    }
    assert!(net.dialled().is_empty());
}

#[tokio::test(start_paused = true)]
async fn row_273_a_redirect_to_another_host_is_followed_without_the_token() {
    let net = Net::answering(|seen, _| match seen.to.as_str() {
        "https://a.api.example" => {
            let mut answer = status(302);
            let elsewhere = HeaderValue::from_static("http://evil.example/");
            answer.headers_mut().insert("location", elsewhere);
            answer
        }
        _ => ok(),
    });
    let proxy = proxy(&net).build();
    let (status, answer) = ask(&proxy, "GET http://a.api.example/", &[], "").await;
    assert!(status == 302 && answer.contains("location: http://evil.example/\r\n"));
    assert_eq!(ask(&proxy, "GET http://evil.example/", &[], "").await.0, 200);
    let seen: Vec<_> = net.seen().iter().map(|s| s.authorization().to_owned()).collect();
    assert_eq!(seen, ["Bearer a1", ""]);
}

#[tokio::test(start_paused = true)]
async fn a_page_of_another_origin_gets_no_token() {
    let net = Net::answering(|_, _| ok());
    let proxy = proxy(&net).build();
    for (field, expected) in [
        ("Origin: http://evil.example", 403),
        ("Sec-Fetch-Site: cross-site", 403),
        ("Origin: http://a.api.example", 200),
        ("Sec-Fetch-Site: same-origin", 200),
    ] {
        let (status, _) = ask(&proxy, "GET http://a.api.example/", &[field], "").await;
        assert_eq!(status, expected, "{field}");
    }
    // Without a token there is nothing to be had.
    let field = "Origin: http://evil.example";
    assert_eq!(ask(&proxy, "GET http://other.example/", &[field], "").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn hosts_that_no_rule_names_can_be_refused() {
    let net = Net::answering(|_, _| ok());
    let proxy = proxy(&net).refuse_others().build();
    assert_eq!(get(&proxy, &net, "http://other.example/").await, (403, None));
    assert_eq!(get(&proxy, &net, "http://a.api.example/").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_carries_what_the_program_says_and_nothing_else() {
    let net = Net::raw(|mut upstream| async move {
        assert_eq!(read_until(&mut upstream, "hello").await, "hello");
        upstream.write_all(b"good day").await.unwrap();
    });
    let tunnelling = proxy(&net).build();
    let mut program = connect(&tunnelling);
    let request = b"CONNECT a.api.example:443 HTTP/1.1\r\nHost: a.api.example:443\r\n\r\n";
    program.write_all(request).await.unwrap();
    let answer = read_until(&mut program, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("content-length"), "{answer}");
    program.write_all(b"hello").await.unwrap();
    let mut rest = String::new();
    program.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "good day");
    assert_eq!(net.dialled(), ["http://a.api.example:443"]);
    assert_eq!(tunnelling.counts().tunnels, 1);

    let strict = proxy(&net).refuse_tunnels().build();
    assert_eq!(ask(&strict, "CONNECT a.api.example:443", &[], "").await.0, 405);
    assert_eq!(ask(&tunnelling, "CONNECT a.api.example", &[], "").await.0, 400);
    assert_eq!(net.dialled().len(), 1);
}
