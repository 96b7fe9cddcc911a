//! Asking twice when the first answer is late.
//!
//! A connection that was kept open may lead to a server that is gone, or a packet may be lost on it; a second question on another
//! connection is then answered while the first still waits. Only for questions that change nothing.

use std::time::Duration;

/// A server on the same network answers in milliseconds. Asking twice after this long costs it little, since it happens rarely, and
/// leaves a budget of three seconds mostly to the second question.
pub(crate) const PATIENCE: Duration = Duration::from_millis(400);

/// The first good answer to `ask`, which is asked again when there is none after `patience`; the last failure when both fail.
pub(crate) async fn hedged<T, E, F: Future<Output = Result<T, E>>>(
    patience: Duration,
    ask: impl Fn() -> F,
) -> Result<T, E> {
    let mut first = std::pin::pin!(ask());
    tokio::select! {
        answer = first.as_mut() => return answer,
        () = tokio::time::sleep(patience) => {}
    }
    let mut second = std::pin::pin!(ask());
    tokio::select! {
        answer = first.as_mut() => match answer {
            Ok(answer) => Ok(answer),
            Err(_) => second.await,
        },
        answer = second.as_mut() => match answer {
            Ok(answer) => Ok(answer),
            Err(_) => first.await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Answers the questions in order: after so many milliseconds, well or not.
    async fn run(answers: &[(u64, bool)]) -> (Result<usize, usize>, usize) {
        let asked = Cell::new(0);
        let answer = hedged(Duration::from_millis(100), || {
            let number = asked.replace(asked.get() + 1);
            let (after, good) = answers[number];
            async move {
                tokio::time::sleep(Duration::from_millis(after)).await;
                if good { Ok(number) } else { Err(number) }
            }
        });
        (answer.await, asked.get())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_good_answer_counts() {
        assert_eq!(run(&[(50, true)]).await, (Ok(0), 1));
        assert_eq!(run(&[(50, false)]).await, (Err(0), 1));
        assert_eq!(run(&[(10_000, true), (50, true)]).await, (Ok(1), 2));
        assert_eq!(run(&[(120, true), (500, true)]).await, (Ok(0), 2));
        assert_eq!(run(&[(120, false), (500, true)]).await, (Ok(1), 2));
        assert_eq!(run(&[(500, true), (50, false)]).await, (Ok(0), 2));
        assert_eq!(run(&[(500, false), (50, false)]).await, (Err(0), 2));
    }
}
