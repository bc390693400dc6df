//! How often a client asks when nothing is wrong.

use std::time::Duration;

use tokenry_test_server::RefreshPolicy;
use tokio::time::Instant;

use crate::matrix::LIFETIMES;
use crate::world;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// The smallest, the middle and the largest number that an instance can draw.
const DRAWS: [f64; 3] = [0.0, 0.5, 0.999];

/// The most token requests of a steady client per lifetime.
const MOST: f64 = 1.4;

/// Asks so often for so long, and says how many token requests that made after the first.
async fn requests(lifetime: Duration, draw: f64, every: Duration, lasting: Duration) -> usize {
    let server = world::server(lifetime, RefreshPolicy::Never);
    let keeper = world::keeper(&server, draw).build().unwrap();
    keeper.token().await.unwrap();
    let until = Instant::now() + lasting;
    while Instant::now() < until {
        let began = Instant::now();
        let token = keeper.token().await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(server.is_good(token.access_token().expose()));
        tokio::time::sleep(every).await;
    }
    server.token_requests() - 1
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_every_second_for_an_hour_makes_at_most_1_4_requests_per_lifetime() {
    for lifetime in LIFETIMES.map(Duration::from_secs) {
        for draw in DRAWS {
            let made = requests(lifetime, draw, SECOND, HOUR).await;
            let most = MOST * HOUR.as_secs_f64() / lifetime.as_secs_f64();
            println!("{lifetime:?}, draw {draw}: {made} requests in an hour, at most {most:.1}");
            assert!(made as f64 <= most, "{lifetime:?}, {draw}: {made} > {most}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_steady_client_makes_at_most_140_requests_in_a_hundred_lifetimes() {
    for lifetime in LIFETIMES.map(Duration::from_secs) {
        for draw in DRAWS {
            let made = requests(lifetime, draw, lifetime / 10, 100 * lifetime).await;
            println!("{lifetime:?}, draw {draw}: {made} requests in 100 lifetimes");
            assert!((100..=140).contains(&made), "{lifetime:?}, {draw}: {made}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_keeper_makes_no_request() {
    for lifetime in LIFETIMES.map(Duration::from_secs) {
        let server = world::server(lifetime, RefreshPolicy::Never);
        let keeper = world::keeper(&server, 0.5).build().unwrap();
        tokio::time::sleep(HOUR).await;
        assert_eq!(server.token_requests(), 0);
        keeper.token().await.unwrap();
        // Somebody who asked a moment ago may ask again; who has not for a lifetime is gone.
        tokio::time::sleep(2 * lifetime).await;
        let before = server.token_requests();
        assert!(before <= 2);
        tokio::time::sleep(24 * HOUR).await;
        assert_eq!(server.token_requests(), before);
    }
}
