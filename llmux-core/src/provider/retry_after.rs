//! Reads the delay that a provider asks for: the headers `retry-after-ms` and `retry-after`.
//!
//! `failure.rs` calls it. It reads the one date format that RFC 9110 lets a server send; the two obsolete formats are
//! ignored.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;

/// The delay in the headers. `retry-after-ms` has precedence, since it is more precise. A date in the past is a delay of
/// zero. An invalid value is ignored.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let header = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |text: &str| text.parse::<f64>().ok();
    if let Some(milliseconds) = header("retry-after-ms").and_then(number) {
        return Duration::try_from_secs_f64(milliseconds / 1000.0).ok();
    }
    let text = header("retry-after")?;
    match number(text) {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        None => Some(http_date(text)?.duration_since(now).unwrap_or_default()),
    }
}

/// Parses an IMF-fixdate (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`. A year before 1970 gives `None`.
fn http_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_weekday, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let day: u64 = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year: u64 = parts.next()?.parse().ok()?;
    let mut clock = parts.next()?.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    let fits = (1970..=9999).contains(&year)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && clock.next().is_none()
        && parts.next() == Some("GMT")
        && parts.next().is_none();
    if !fits {
        return None;
    }
    // Days since 1970 by a calendar whose year begins in March, so that the leap day is its last
    // (https://howardhinnant.github.io/date_algorithms.html#days_from_civil).
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    Some(UNIX_EPOCH + Duration::from_secs(days * 86_400 + hour * 3_600 + minute * 60 + second))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_wait_is_read_in_every_form_that_providers_send() {
        // 784_111_777 is 1994-11-06 08:49:37, the example of the RFC.
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        type Case = (&'static [(&'static str, &'static str)], Option<f64>);
        let cases: &[Case] = &[
            (&[], None),
            (&[("retry-after", "7")], Some(7.0)),
            (&[("retry-after", " 1.5 ")], Some(1.5)),
            (&[("retry-after", "0")], Some(0.0)),
            (&[("retry-after-ms", "250")], Some(0.25)),
            (&[("retry-after", "7"), ("retry-after-ms", "250")], Some(0.25)),
            (&[("retry-after", "7"), ("retry-after-ms", "soon")], Some(7.0)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], Some(0.0)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], Some(30.0)),
            (&[("retry-after", "Mon, 07 Nov 1994 08:49:37 GMT")], Some(86_400.0)),
            (&[("retry-after", "Fri, 06 Nov 1992 08:49:37 GMT")], Some(0.0)),
            (&[("retry-after", "Tue, 29 Feb 2000 00:00:00 GMT")], Some(951_782_400.0 - 784_111_777.0)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49 GMT")], None),
            (&[("retry-after", "Sunday, 06-Nov-94 08:49:37 GMT")], None),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "NaN")], None),
            (&[("retry-after", "1e300")], None),
            (&[("retry-after", "soon")], None),
        ];
        for (headers, expected) in cases {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
                .collect();
            let wait = retry_after(&map, now).map(|wait| wait.as_secs_f64());
            assert_eq!(wait, *expected, "{headers:?}");
        }
    }
}
