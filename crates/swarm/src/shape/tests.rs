//! Lines in virtual time.

use std::sync::Arc;

use super::*;

const MB: u64 = 1_000_000;

fn shaper(limits: RateLimits) -> Arc<Shaper> {
    Arc::new(Shaper::new(limits))
}

/// Moves `len` bytes in portions; when each portion went, in milliseconds.
async fn receive(shaper: Arc<Shaper>, class: Class, len: usize) -> Vec<(u128, usize)> {
    let (start, mut left, mut log) = (Instant::now(), len, Vec::new());
    while left > 0 {
        let portion = shaper.portion_in(left);
        shaper.receive(class, portion).await;
        left -= portion;
        log.push((start.elapsed().as_millis(), portion));
    }
    log
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_nothing_waits_and_nothing_is_cut() {
    let shaper = shaper(RateLimits::default());
    assert_eq!(receive(shaper.clone(), Class::Background, 1 << 30).await, [(0, 1 << 30)]);
    shaper.send(1 << 30).await;
    assert_eq!(shaper.portion_out(1 << 30), 1 << 30);
}

#[tokio::test(start_paused = true)]
async fn a_rate_holds_over_a_second_and_within_milliseconds() {
    let shaper = shaper(RateLimits { download: Some(10 * MB), ..RateLimits::default() });
    for class in [Class::Foreground, Class::Background] {
        let log = receive(shaper.clone(), class, 10_000_000).await;
        let end = log.last().unwrap().0;
        assert!((980..=1010).contains(&end), "{end}");
        // In no window of 20 ms is there more than 20 ms' worth, one quantum and the slack.
        for (at, _) in &log {
            let within: usize = log.iter().filter(|(t, _)| (*at..*at + 20).contains(t)).map(|(_, n)| n).sum();
            assert!(within <= 200_000 + 20_000 + 40_000, "{within} at {at}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_line_saves_up_nothing() {
    let shaper = shaper(RateLimits { upload: Some(MB), ..RateLimits::default() });
    shaper.send(1000).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let start = Instant::now();
    for _ in 0..100 {
        shaper.send(4096).await;
    }
    assert!(start.elapsed() >= Duration::from_millis(390), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_reader_goes_before_the_background() {
    let shaper = shaper(RateLimits { download: Some(10 * MB), ..RateLimits::default() });
    let background: Vec<_> =
        (0..16).map(|_| tokio::spawn(receive(shaper.clone(), Class::Background, 4_000_000))).collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let start = Instant::now();
    receive(shaper.clone(), Class::Foreground, 1_000_000).await;
    let took = start.elapsed();
    // 100 ms on the line.
    assert!(took <= Duration::from_millis(106), "{took:?}");
    for task in background {
        task.await.unwrap();
    }
    let whole = start.elapsed() + Duration::from_millis(500);
    assert!((6_400..6_700).contains(&whole.as_millis()), "nothing was lost: {whole:?}");
}

#[tokio::test(start_paused = true)]
async fn the_background_has_a_limit_of_its_own() {
    let limits = RateLimits { download: Some(10 * MB), background: Some(MB), ..RateLimits::default() };
    let shaper = shaper(limits);
    assert_eq!(shaper.limits(), limits);
    let log = receive(shaper.clone(), Class::Background, 1_000_000).await;
    assert!((980..=1010).contains(&log.last().unwrap().0), "{log:?}");
    let log = receive(shaper, Class::Foreground, 1_000_000).await;
    assert!((90..=110).contains(&log.last().unwrap().0), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn connections_share_evenly() {
    let shaper = shaper(RateLimits { upload: Some(10 * MB), ..RateLimits::default() });
    let sent = Arc::new(Mutex::new([0_usize; 4]));
    for number in 0..4 {
        let (shaper, sent) = (shaper.clone(), sent.clone());
        tokio::spawn(async move {
            loop {
                let portion = shaper.portion_out(1 << 20);
                shaper.send(portion).await;
                sent.lock().unwrap()[number] += portion;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let sent = *sent.lock().unwrap();
    assert!(sent.iter().all(|bytes| (2_300_000..2_700_000).contains(bytes)), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn limits_change_while_bytes_flow() {
    let shaper = shaper(RateLimits { download: Some(RATE_MIN), ..RateLimits::default() });
    let slow = tokio::spawn(receive(shaper.clone(), Class::Background, 10_000_000));
    tokio::time::sleep(Duration::from_secs(1)).await;
    shaper.set(RateLimits { download: Some(100 * MB), ..RateLimits::default() });
    let log = slow.await.unwrap();
    let end = log.last().unwrap().0;
    assert!((1_090..=1_200).contains(&end), "{end}");
    shaper.set(RateLimits { download: Some(1), ..RateLimits::default() });
    assert_eq!(shaper.limits().download, Some(RATE_MIN));
}
