//! What every token is checked for, whoever issued it: times, audience, form.
//!
//! Clocks of machines differ: each time is taken with a leeway of [`LEEWAY`], stated here once. Time is an argument, so that tests can
//! let it pass.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

/// How far two clocks may differ.
pub(crate) const LEEWAY: Duration = Duration::from_secs(60);

/// Claims by name.
pub(crate) type Claims = Map<String, Value>;

/// Seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The time that a claim of seconds names; one that no clock reaches is as good as never.
pub(crate) fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.min(1 << 40))
}

/// Claims of which nothing has been checked; only to find out who claims to have issued them.
pub(crate) fn unverified(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// Checks the signature, with this algorithm and no other, and gives the claims.
pub(crate) fn verified(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Option<Claims> {
    let mut validation = Validation::new(algorithm);
    // Times and audience are checked below, with our own clock.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let data = jsonwebtoken::decode::<Claims>(token, key, &validation).ok()?;
    // RFC 7515 §4.1.11: extensions that must be understood are not.
    data.header.crit.is_none().then_some(data.claims)
}

/// Checks `exp` (required), `nbf` and `iat`; the time until which the claims hold.
pub(crate) fn check_times(claims: &Claims, now: SystemTime) -> Result<SystemTime, &'static str> {
    let expires = number(claims, "exp")?.ok_or("it does not expire")?;
    let until = time(expires) + LEEWAY;
    if now >= until {
        return Err("it has expired");
    }
    for (claim, why) in [("nbf", "it is not valid yet"), ("iat", "it was issued in the future")] {
        if number(claims, claim)?.is_some_and(|at| time(at) > now + LEEWAY) {
            return Err(why);
        }
    }
    Ok(until)
}

/// Checks that `aud` names one of `audiences`.
pub(crate) fn check_audience(claims: &Claims, audiences: &[String]) -> Result<(), &'static str> {
    let ours = |value: &Value| value.as_str().is_some_and(|text| audiences.iter().any(|own| own == text));
    let named = match claims.get("aud") {
        Some(Value::Array(list)) => list.iter().any(ours),
        Some(one) => ours(one),
        None => false,
    };
    if named { Ok(()) } else { Err("it is meant for another service") }
}

/// NumericDate (RFC 7519 §2): seconds, perhaps with a fraction.
fn number(claims: &Claims, name: &str) -> Result<Option<u64>, &'static str> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = value.as_u64().or_else(|| value.as_f64().filter(|at| *at >= 0.0).map(|at| at as u64));
    whole.map(Some).ok_or("its times are not numbers")
}

/// A claim that is text.
pub(crate) fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn times(claims: &Value, now: u64) -> Result<(), &'static str> {
        check_times(claims.as_object().unwrap(), time(now)).map(drop)
    }

    #[test]
    fn times_with_a_leeway_of_a_minute() {
        let claims = json!({ "exp": 1000, "nbf": 500, "iat": 500 });
        assert_eq!(times(&claims, 439), Err("it is not valid yet"));
        for good in [440, 500, 999, 1059] {
            assert_eq!(times(&claims, good), Ok(()), "{good}");
        }
        assert_eq!(times(&claims, 1060), Err("it has expired"));
        // Ten minutes ahead and behind.
        assert!(times(&json!({ "exp": 9999, "nbf": 1600 }), 1000).is_err());
        assert!(times(&json!({ "exp": 400 }), 1000).is_err());
        assert!(times(&json!({ "exp": 9999, "iat": 1600 }), 1000).is_err());
    }

    #[test]
    fn times_that_are_none() {
        assert_eq!(times(&json!({}), 0), Err("it does not expire"));
        for bad in [json!("1000"), json!(-1), json!(null), json!([1])] {
            assert_eq!(times(&json!({ "exp": bad }), 0), Err("its times are not numbers"), "{bad}");
        }
        assert_eq!(times(&json!({ "exp": 1000.5 }), 10), Ok(()));
        assert_eq!(times(&json!({ "exp": u64::MAX }), 10), Ok(()));
        assert_eq!(times(&json!({ "exp": 1e300 }), 10), Ok(()));
    }

    #[test]
    fn audiences() {
        let ours = ["shoal".to_owned()];
        let check = |aud: Value| check_audience(json!({ "aud": aud }).as_object().unwrap(), &ours);
        assert!(check(json!("shoal")).is_ok() && check(json!(["x", "shoal"])).is_ok());
        for other in [json!("shoal2"), json!(["x"]), json!([]), json!(null), json!(1), json!({"shoal": 1})] {
            assert!(check(other.clone()).is_err(), "{other}");
        }
        assert!(check_audience(&Claims::new(), &ours).is_err());
    }
}
