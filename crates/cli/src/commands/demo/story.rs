//! What happens on the stage, scene by scene.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokenry_client::{BearerLayer, Event, HttpTransport, Keeper};
use tokenry_core::jose::jws::Compact;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep};

use super::Trouble;
use super::shortened::{ACCESS, REFRESH};
use super::stage::{Stage, Vendor};
use super::timeline::{Step, Timeline, seconds};
use crate::edge::now;

/// How often each program calls its API.
const CALL_EVERY: Duration = Duration::from_millis(200);

/// A call that found a good token never comes near this; one that waited for a token request does.
const NO_WAIT: Duration = Duration::from_millis(150);

/// Plays all scenes.
pub(super) async fn play(stage: &Stage, timeline: &Timeline) -> Result<(), Trouble> {
    let vendors = [&stage.truphone, &stage.simacan, &stage.tuinly];
    for vendor in vendors {
        tell(vendor, timeline);
    }

    timeline.heading("Each program asks its keeper for a token, and calls its API");
    let mut events = stage.simacan.keeper.events();
    let mut first = Vec::new();
    for vendor in vendors {
        first.push(begin(vendor, timeline).await?);
    }
    timeline.say("keepers", Some(Step::Obtained), "each vendor's keeper holds a token");
    timeline.say("APIs", Some(Step::Used), "each vendor's API accepted it");

    timeline.heading("They go on calling; the keepers refresh at three quarters of the lifetime");
    let programs = vendors.map(Program::start);
    for (vendor, before) in vendors.iter().zip(first) {
        renewed(vendor, before).await;
    }
    timeline.say(
        "keepers",
        Some(Step::RefreshedInBackground),
        "every token was renewed before it expired",
    );

    timeline.heading("Simacan's API refuses a token before its time");
    refuse_early(&stage.simacan, timeline).await?;

    timeline.heading("The answer to the next rotation gets lost");
    stage.simacan.line.lose_the_next_answer();
    until(&mut events, |event| matches!(event, Event::RefreshFailed { .. })).await;
    until(&mut events, |event| matches!(event, Event::Refreshed { .. })).await;

    timeline.heading(
        "Simacan's program falls silent, so its keeper does, and the refresh token expires",
    );
    let [truphone, simacan, tuinly] = programs;
    simacan.pause();
    until(&mut events, |event| matches!(event, Event::Idle)).await;
    sleep(REFRESH).await;
    let asked = Instant::now();
    let answer = call(&stage.simacan).await;
    let text =
        format!("called again after the pause: {} in {}", shown(&answer), seconds(asked.elapsed()));
    timeline.say("simacan", None, &text);

    timeline.heading("Staging and production");
    match stage.astray.token().await {
        Err(error) => timeline.say(
            "simacan",
            Some(Step::StagingRefused),
            &format!("the staging password at production: {error}"),
        ),
        Ok(_) => timeline.say("simacan", None, "the staging password was accepted by production"),
    }

    timeline.heading("The end");
    sum_up(&[truphone, simacan, tuinly], vendors, timeline);
    Ok(())
}

/// Obtains the first token, uses it, and gives its generation.
async fn begin(vendor: &Vendor, timeline: &Timeline) -> Result<u64, Trouble> {
    let token = vendor.keeper.token().await?;
    let answer = call(vendor).await;
    timeline.say(vendor.name, None, &format!("GET {} → {}", vendor.url, shown(&answer)));
    if answer.as_ref().map(Response::status).ok() != Some(StatusCode::OK) {
        return Err(format!("the API of {} did not accept its token", vendor.name).into());
    }
    Ok(token.generation())
}

/// Waits until the keeper holds a later token.
async fn renewed(vendor: &Vendor, before: u64) {
    while vendor.keeper.try_token().is_none_or(|token| token.generation() <= before) {
        sleep(Duration::from_millis(20)).await;
    }
}

/// The API refuses the token in use; the next call notices, and succeeds all the same.
async fn refuse_early(vendor: &Vendor, timeline: &Timeline) -> Result<(), Trouble> {
    let token = vendor.keeper.token().await?;
    let left = token.expires_at().unwrap_or_default().since(now());
    let jti = Compact::parse(token.access_token().expose())?
        .unverified_claim("jti")
        .ok_or("a token without jti")?;
    let mut events = vendor.keeper.events();
    vendor.verifier.refuse(&jti, now() + ACCESS)?;
    let text = format!("answers 401 from now on, {} before the token expires", seconds(left));
    timeline.say("simacan's API", None, &text);
    let answer = call(vendor).await;
    until(&mut events, |event| matches!(event, Event::Invalidated { .. })).await;
    timeline.say(
        vendor.name,
        Some(Step::RefusedEarly),
        "401: the keeper dropped that token, and no other",
    );
    let again = vendor.keeper.token().await?;
    if answer.as_ref().is_ok_and(|a| a.status() == StatusCode::OK)
        && again.generation() != token.generation()
    {
        timeline.say(
            vendor.name,
            Some(Step::Recovered),
            &format!("the same call, with a new token: {}", shown(&answer)),
        );
    }
    Ok(())
}

/// Counts what the programs met.
fn sum_up(programs: &[Program; 3], vendors: [&Vendor; 3], timeline: &Timeline) {
    let mut good = true;
    for (program, vendor) in programs.iter().zip(vendors) {
        program.pause();
        let Counts { calls, failed, waited } = &*program.counts;
        let (calls, failed, waited) = (
            calls.load(Ordering::Relaxed),
            failed.load(Ordering::Relaxed),
            waited.load(Ordering::Relaxed),
        );
        good &= calls > 0 && failed == 0 && waited == 0;
        let text = format!(
            "{calls} calls, {failed} failed, {waited} waited for a token; {} token requests",
            vendor.line.requests()
        );
        timeline.say(vendor.name, None, &text);
    }
    if good {
        timeline.say(
            "programs",
            Some(Step::NothingWaited),
            "no call failed, and none waited while a token was good",
        );
    }
}

/// A program that calls its API again and again.
struct Program {
    paused: Arc<AtomicBool>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    failed: AtomicU64,
    /// Calls whose token took longer than reading it from memory can, though one was good.
    waited: AtomicU64,
}

impl Program {
    fn start(vendor: &Vendor) -> Self {
        let program = Self { paused: Arc::default(), counts: Arc::default() };
        let (paused, counts) = (Arc::clone(&program.paused), Arc::clone(&program.counts));
        let caller = Caller::of(vendor);
        tokio::spawn(async move {
            loop {
                sleep(CALL_EVERY).await;
                if paused.load(Ordering::Relaxed) {
                    continue;
                }
                let good = caller.keeper.try_token().is_some();
                let began = Instant::now();
                let token = caller.keeper.token().await;
                let waited = good && began.elapsed() > NO_WAIT;
                let answer = if token.is_ok() { caller.call().await.ok() } else { None };
                counts.calls.fetch_add(1, Ordering::Relaxed);
                counts.waited.fetch_add(u64::from(waited), Ordering::Relaxed);
                let failed = answer.is_none_or(|answer| answer.status() != StatusCode::OK);
                counts.failed.fetch_add(u64::from(failed), Ordering::Relaxed);
            }
        });
        program
    }

    fn pause(&self) {
        self.paused.store(true, Ordering::Relaxed);
    }
}

/// What a call needs.
#[derive(Clone)]
struct Caller {
    keeper: Keeper,
    http: HttpTransport,
    url: &'static str,
}

impl Caller {
    fn of(vendor: &Vendor) -> Self {
        Self { keeper: vendor.keeper.clone(), http: vendor.http.clone(), url: vendor.url }
    }

    /// Calls the API as a program would: through the layer that adds the token and retries once after a 401.
    async fn call(&self) -> Result<Response<Bytes>, Trouble> {
        use tower_layer::Layer as _;
        use tower_service::Service as _;
        let mut service = BearerLayer::of_keeper(&self.keeper).layer(self.http.clone());
        let request = Request::get(self.url).body(Bytes::new())?;
        std::future::poll_fn(|context| service.poll_ready(context)).await?;
        Ok(service.call(request).await?)
    }
}

async fn call(vendor: &Vendor) -> Result<Response<Bytes>, Trouble> {
    Caller::of(vendor).call().await
}

fn shown(answer: &Result<Response<Bytes>, Trouble>) -> String {
    match answer {
        Ok(answer) => {
            format!("{} {:?}", answer.status().as_u16(), String::from_utf8_lossy(answer.body()))
        }
        Err(error) => error.to_string(),
    }
}

/// Waits for an event of a keeper.
async fn until(events: &mut broadcast::Receiver<Event>, wanted: impl Fn(&Event) -> bool) {
    loop {
        match events.recv().await {
            Ok(event) if wanted(&event) => return,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// Writes what happens to a keeper to the timeline.
fn tell(vendor: &Vendor, timeline: &Timeline) {
    let (mut events, timeline, name) = (vendor.keeper.events(), timeline.clone(), vendor.name);
    tokio::spawn(async move {
        let mut fell_back = false;
        while let Ok(event) = events.recv().await {
            let (step, text) = match &event {
                Event::Obtained { lifetime, .. } if fell_back => {
                    fell_back = false;
                    (
                        Some(Step::FellBackToThePassword),
                        format!("a token with the password, once; it lives {}", seconds(*lifetime)),
                    )
                }
                Event::Obtained { lifetime, .. } => {
                    (None, format!("a token with credentials; it lives {}", seconds(*lifetime)))
                }
                Event::Refreshed { lifetime, .. } => (
                    None,
                    format!("a token with the refresh token; it lives {}", seconds(*lifetime)),
                ),
                Event::RefreshTokenKept => (
                    Some(Step::KeptTheFirstRefreshToken),
                    "no new refresh token: the first one stays".into(),
                ),
                Event::RefreshFailed { error, .. } => {
                    (None, format!("no token this time: {error}"))
                }
                Event::FellBackToCredentials => {
                    fell_back = true;
                    (
                        Some(Step::RefreshTokenExpired),
                        "the server refused the refresh token, so the password is used".into(),
                    )
                }
                Event::Idle => (None, "nobody asked for a lifetime: the keeper rests".into()),
                _ => continue,
            };
            timeline.say(name, step, &text);
        }
    });
}
