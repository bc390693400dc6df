use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::pin;

use http_body_util::{BodyExt, Full};
use tokio::sync::mpsc;

use super::*;
use crate::REPLAY_LIMIT;

/// A body whose pieces the test sends one by one.
struct Piped(mpsc::UnboundedReceiver<Result<Frame<Bytes>, std::io::Error>>);

impl Body for Piped {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(context)
    }
}

type Pipe = mpsc::UnboundedSender<Result<Frame<Bytes>, std::io::Error>>;

fn pipe(limit: usize) -> (Pipe, ReplayBody<Piped>) {
    let (pipe, end) = mpsc::unbounded_channel();
    (pipe, ReplayBody::new(Piped(end), limit))
}

fn send(pipe: &Pipe, piece: &'static str) {
    pipe.send(Ok(Frame::data(Bytes::from(piece)))).unwrap();
}

async fn next<B: Body + Unpin>(body: &mut B) -> Result<B::Data, B::Error> {
    body.frame().await.unwrap().map(|frame| frame.into_data().ok().unwrap())
}

async fn text<B: Body<Error = BoxError>>(body: B) -> Result<String, BoxError> {
    let bytes = body.collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

fn cause(error: BoxError) -> ReplayError {
    *error.downcast().unwrap()
}

/// Pieces that are all there, with an end that is seen beforehand.
#[derive(Default)]
struct Pieces(VecDeque<Frame<Bytes>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let data = self.0.iter().filter_map(Frame::data_ref);
        SizeHint::with_exact(data.map(|data| data.len() as u64).sum())
    }
}

#[tokio::test]
async fn what_was_sent_comes_first_and_then_the_rest() {
    let (pipe, mut first) = pipe(REPLAY_LIMIT);
    let kept = first.replay().unwrap();
    send(&pipe, "one ");
    send(&pipe, "two ");
    assert_eq!(next(&mut first).await.unwrap(), "one ");
    assert_eq!(next(&mut first).await.unwrap(), "two ");
    let again = kept.replay().unwrap();
    send(&pipe, "three");
    drop(pipe);
    assert_eq!(text(again).await.unwrap(), "one two three");
    assert_eq!(text(kept.replay().unwrap()).await.unwrap(), "one two three");
}

#[tokio::test]
async fn up_to_the_limit_it_can_be_sent_again_and_beyond_it_not() {
    for (limit, expected) in [(8, true), (7, false), (0, false)] {
        let (pipe, mut first) = pipe(limit);
        let kept = first.replay().unwrap();
        send(&pipe, "one ");
        send(&pipe, "two ");
        drop(pipe);
        next(&mut first).await.unwrap();
        assert_eq!(kept.replay().is_some(), limit >= 4, "{limit}");
        next(&mut first).await.unwrap();
        assert_eq!(kept.replay().is_some(), expected, "{limit}");
        assert!(first.frame().await.is_none());
        if !expected {
            assert_eq!(cause(text(kept).await.unwrap_err()), ReplayError::NotKept);
        }
    }
}

#[tokio::test]
async fn of_a_body_that_is_too_long_nothing_is_held() {
    let (pipe, mut first) = pipe(5);
    let _kept = first.replay().unwrap();
    send(&pipe, "one ");
    send(&pipe, "two ");
    next(&mut first).await.unwrap();
    assert_eq!(first.shared().kept.as_deref(), Some(b"one ".as_slice()));
    next(&mut first).await.unwrap();
    assert!(first.shared().kept.is_none());
    // What is short after it does not begin anew.
    send(&pipe, "3");
    next(&mut first).await.unwrap();
    assert!(first.replay().is_none());
}

#[tokio::test]
async fn when_there_is_nobody_to_send_it_again_nothing_is_held() {
    let (pipe, mut first) = pipe(REPLAY_LIMIT);
    let kept = first.replay().unwrap();
    send(&pipe, "one ");
    next(&mut first).await.unwrap();
    assert!(first.shared().kept.is_some());
    drop(kept);
    send(&pipe, "two");
    assert_eq!(next(&mut first).await.unwrap(), "two");
    assert!(first.shared().kept.is_none());
}

#[tokio::test]
async fn trailers_come_with_every_replay_and_once() {
    let mut trailers = HeaderMap::new();
    trailers.insert("checksum", "1".parse().unwrap());
    let pieces = [Frame::data(Bytes::from("one")), Frame::trailers(trailers.clone())];
    let first = ReplayBody::new(Pieces(pieces.into()), REPLAY_LIMIT);
    let kept = first.replay().unwrap();
    for mut body in [first, kept.replay().unwrap(), kept] {
        assert_eq!(next(&mut body).await.unwrap(), "one");
        assert!(!body.is_end_stream());
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.trailers_ref(), Some(&trailers));
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none());
    }
}

#[tokio::test]
async fn its_end_and_its_size_are_those_of_the_body() {
    let pieces = [Frame::data(Bytes::from("one ")), Frame::data(Bytes::from("two"))];
    let mut first = ReplayBody::new(Pieces(pieces.into()), REPLAY_LIMIT);
    let kept = first.replay().unwrap();
    let state = |body: &ReplayBody<Pieces>| (body.size_hint().exact(), body.is_end_stream());
    assert_eq!(state(&first), (Some(7), false));
    next(&mut first).await.unwrap();
    assert_eq!((state(&first), state(&kept)), ((Some(3), false), (Some(7), false)));
    next(&mut first).await.unwrap();
    assert_eq!((state(&first), state(&kept)), ((Some(0), true), (Some(7), false)));
    assert!(first.frame().await.is_none());
    assert_eq!((state(&first), state(&kept)), ((Some(0), true), (Some(7), false)));

    let empty = ReplayBody::new(Pieces::default(), REPLAY_LIMIT);
    assert_eq!(state(&empty), (Some(0), true));
    assert_eq!(state(&empty.replay().unwrap()), (Some(0), true));

    // Without an upper bound there is none.
    let (pipe, mut first) = pipe(REPLAY_LIMIT);
    let kept = first.replay().unwrap();
    send(&pipe, "one");
    next(&mut first).await.unwrap();
    let hint = kept.size_hint();
    assert_eq!((hint.lower(), hint.upper()), (3, None));
}

#[tokio::test]
async fn what_is_superseded_fails_and_does_not_look_whole() {
    let (pipe, mut first) = pipe(REPLAY_LIMIT);
    let kept = first.replay().unwrap();
    send(&pipe, "one ");
    next(&mut first).await.unwrap();
    // It waits for more, and is woken to see that nothing will come.
    let waiting = tokio::spawn(async move { first.frame().await.unwrap().unwrap_err() });
    tokio::task::yield_now().await;
    let mut again = kept.replay().unwrap();
    assert_eq!(next(&mut again).await.unwrap(), "one ");
    assert_eq!(cause(waiting.await.unwrap()), ReplayError::Superseded);
    send(&pipe, "two");
    drop(pipe);
    assert_eq!(text(again).await.unwrap(), "two");
}

#[tokio::test]
async fn whoever_begins_last_gets_the_rest_whoever_was_made_last() {
    let (pipe, first) = pipe(REPLAY_LIMIT);
    let mut copy = first.replay().unwrap();
    send(&pipe, "one ");
    next(&mut copy).await.unwrap();
    send(&pipe, "two");
    drop(pipe);
    assert_eq!(text(first).await.unwrap(), "one two");
    assert_eq!(cause(next(&mut copy).await.unwrap_err()), ReplayError::Superseded);
}

#[tokio::test]
async fn a_body_that_failed_is_not_sent_again() {
    let (pipe, mut first) = pipe(REPLAY_LIMIT);
    let kept = first.replay().unwrap();
    send(&pipe, "one");
    next(&mut first).await.unwrap();
    pipe.send(Err(std::io::Error::other("the disk is gone"))).unwrap();
    assert_eq!(next(&mut first).await.unwrap_err().to_string(), "the disk is gone");
    assert!(kept.replay().is_none());
}

#[tokio::test]
async fn a_piece_goes_out_without_being_copied() {
    let bytes = Bytes::from(vec![1; 1000]);
    let mut first = pin!(ReplayBody::new(Full::new(bytes.clone()), REPLAY_LIMIT));
    assert_eq!(next(&mut first).await.unwrap().as_ptr(), bytes.as_ptr());
}
