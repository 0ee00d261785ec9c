//! What `top` shows of a status: lines, bars and a chart, on a sheet that may be longer than the screen.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{LineGauge, RenderDirection, Sparkline, Widget as _};

use crate::admin::status::{Audit, Minute, Overall, Site, Status, Token};

/// How many of the last token exchanges are shown.
const EXCHANGES: usize = 4;
/// How many clients, and how many reasons, are shown.
const ROWS: usize = 12;
/// The lines of the chart.
const CHART: u16 = 4;
/// The widest column of names.
const NAME: usize = 28;

const GOOD: Style = Style::new().fg(Color::Green);
const WARN: Style = Style::new().fg(Color::Yellow);
const BAD: Style = Style::new().fg(Color::Red);
const QUIET: Style = Style::new().add_modifier(Modifier::DIM);
const TITLE: Style = Style::new().add_modifier(Modifier::BOLD);
const PLAIN: Style = Style::new();

/// A part of the sheet.
enum Part {
    Line(Line<'static>),
    /// A bar that is full by this share.
    Bar(String, f64, Style),
    /// A chart of numbers.
    Chart(Vec<u64>),
}

/// A status, ready to be shown in any width.
pub(super) struct Sheet(Vec<Part>);

impl Sheet {
    /// The sheet of a status.
    #[must_use]
    pub(super) fn of(status: &Status) -> Self {
        let mut sheet = Self(Vec::new());
        sheet.head(status);
        for site in &status.sites {
            sheet.site(site);
        }
        sheet.hour(status);
        sheet.clients(status);
        sheet.exports(status);
        sheet.certificates(status);
        if let Some(audit) = &status.audit {
            sheet.audit(audit);
        }
        sheet
    }

    /// The same as text without styles.
    #[must_use]
    pub(super) fn text(&self, width: u16) -> String {
        let buffer = self.buffer(width);
        let mut text = String::new();
        for y in 0..buffer.area.height {
            let line: String = (0..width).filter_map(|x| Some(buffer.cell((x, y))?.symbol())).collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Draws what has room from the line `top` on, or from the last line from which all is filled; gives the line that it was. The
    /// last line of the screen has `trouble`, or the keys.
    pub(super) fn draw(&self, area: Rect, screen: &mut Buffer, top: u16, trouble: Option<&str>) -> u16 {
        let all = self.buffer(area.width);
        let room = area.height.saturating_sub(1);
        let top = top.min(all.area.height.saturating_sub(room));
        for y in 0..room.min(all.area.height) {
            for x in 0..area.width {
                if let (Some(to), Some(from)) = (screen.cell_mut((area.x + x, area.y + y)), all.cell((x, top + y))) {
                    *to = from.clone();
                }
            }
        }
        let foot = match trouble {
            Some(trouble) => Line::styled(format!("not current: {}", trouble.replace('\n', ";")), BAD),
            None => Line::styled("q leaves, arrows scroll", QUIET),
        };
        if area.height > 0 {
            foot.render(Rect { y: area.y + room, height: 1, ..area }, screen);
        }
        top
    }

    fn buffer(&self, width: u16) -> Buffer {
        let height = self.0.iter().map(Part::height).fold(0, u16::saturating_add);
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        let mut y = 0;
        for part in &self.0 {
            part.render(Rect::new(0, y, width, part.height()).intersection(buffer.area), &mut buffer);
            y = y.saturating_add(part.height());
        }
        buffer
    }

    fn line(&mut self, spans: Vec<(String, Style)>) {
        self.0.push(Part::Line(spans.into_iter().map(|(text, style)| Span::styled(text, style)).collect()));
    }

    fn title(&mut self, text: &str) {
        self.line(Vec::new());
        self.line(vec![(text.to_owned(), TITLE)]);
    }

    fn head(&mut self, status: &Status) {
        let style = match status.state {
            Overall::Ok => GOOD,
            Overall::Degraded | Overall::Draining => WARN,
            Overall::Down => BAD,
        };
        self.line(vec![
            (format!("openemr-gateway {}  ", status.version), TITLE),
            (status.state.word().to_uppercase(), style.add_modifier(Modifier::BOLD)),
            (format!("  {}", clock(status.at)), QUIET),
        ]);
        self.line(vec![(
            format!(
                "{:.1} requests a second, {} being answered, {} of {} connections",
                status.rate, status.requests, status.connections, status.most_connections
            ),
            PLAIN,
        )]);
        for problem in &status.problems {
            let of = problem.site.as_ref().map(|site| format!("{site}: ")).unwrap_or_default();
            self.line(vec![(format!("! {of}{}", problem.text), BAD)]);
        }
    }

    fn site(&mut self, site: &Site) {
        self.title(&format!("Site {}", site.name));
        let (words, style) = token_words(&site.token);
        let share = if site.token.life == 0 { 0.0 } else { site.token.left / site.token.life as f64 };
        self.0.push(Part::Bar(format!("token   {words:<34}"), share, style));
        let busy = f64::from(site.in_flight) / f64::from(site.limit.max(1));
        let words = format!("{} of {} at OpenEMR, {} waiting", site.in_flight, site.limit, site.waiting);
        self.0.push(Part::Bar(format!("load    {words:<34}"), busy, if site.waiting > 0 { WARN } else { PLAIN }));
        self.line(vec![("key     ".to_owned(), QUIET), (site.token.kid.clone(), PLAIN)]);
        for node in &site.nodes {
            let style = match node.state.as_str() {
                "healthy" => GOOD,
                "degraded" => WARN,
                _ => BAD,
            };
            self.line(vec![("server  ".to_owned(), QUIET), (format!("{:<9} ", node.state), style), (node.url.clone(), PLAIN)]);
        }
        for exchange in site.exchanges.iter().take(EXCHANGES) {
            let (result, style) = match &exchange.failure {
                None => ("a new token", GOOD),
                Some(cause) => (cause.as_str(), BAD),
            };
            self.line(vec![(format!("{}  {:>6} ms  ", clock(exchange.at), exchange.took_ms), QUIET), (result.to_owned(), style)]);
        }
    }

    fn hour(&mut self, status: &Status) {
        let sum = |of: fn(&Minute) -> u64| status.minutes.iter().map(of).sum::<u64>();
        self.title("Last hour");
        self.line(vec![
            (format!("{} requests, ", sum(|minute| minute.requests)), PLAIN),
            (format!("{} refused with 4xx, ", sum(|minute| minute.refused)), PLAIN),
            (
                format!("{} failed with 5xx", sum(|minute| minute.failed)),
                if sum(|minute| minute.failed) > 0 { BAD } else { PLAIN },
            ),
        ]);
        self.0.push(Part::Chart(status.minutes.iter().map(|minute| minute.requests).collect()));
        if let Some(last) = status.minutes.iter().rev().find(|minute| minute.p50.is_some()) {
            let text = format!(
                "{}  half within {}, 95 % within {}, 99 % within {}; OpenEMR 95 % within {}",
                clock(last.at),
                milliseconds(last.p50),
                milliseconds(last.p95),
                milliseconds(last.p99),
                milliseconds(last.openemr_p95)
            );
            self.line(vec![(text, PLAIN)]);
        }
    }

    fn clients(&mut self, status: &Status) {
        if !status.clients.is_empty() {
            self.title("Clients in the last hour");
            let head = format!("{:<NAME$} {:>8} {:>10} {:>8} {:>8}", "client", "a second", "requests", "4xx", "5xx");
            self.line(vec![(head, QUIET)]);
        }
        for client in status.clients.iter().take(ROWS) {
            self.line(vec![
                (format!("{:<NAME$} {:>8.1} {:>10} ", cut(&client.name), client.rate, client.requests), PLAIN),
                (format!("{:>8} ", client.refused), if client.refused > 0 { WARN } else { PLAIN }),
                (format!("{:>8}", client.failed), if client.failed > 0 { BAD } else { PLAIN }),
            ]);
        }
        if !status.reasons.is_empty() {
            self.title("Not served in the last hour");
        }
        for reason in status.reasons.iter().take(ROWS) {
            self.line(vec![(format!("{:<NAME$} {:>8}", cut(&reason.code), reason.count), PLAIN)]);
        }
    }

    fn exports(&mut self, status: &Status) {
        let mut exports = status.sites.iter().flat_map(|site| site.exports.iter().map(move |export| (site, export))).peekable();
        if exports.peek().is_some() {
            self.title("Bulk exports");
        }
        for (site, export) in exports {
            let words = format!("{} {} ({}), for {}", site.name, export.id, export.level, cut(&export.client));
            let words = format!("{words:<42}");
            match export.finished_at {
                Some(at) => self.line(vec![(format!("{words} ended {}, ", clock(at)), PLAIN), failed_parts(export.failed)]),
                None => {
                    let share = export.ended as f64 / export.parts.max(1) as f64;
                    self.0.push(Part::Bar(format!("{words} {} of {}", export.ended, export.parts), share, PLAIN));
                }
            }
        }
    }

    fn certificates(&mut self, status: &Status) {
        if !status.certificates.is_empty() {
            self.title("Certificates and keys");
        }
        for certificate in &status.certificates {
            let days = (certificate.ends - status.at).div_euclid(24 * 60 * 60);
            let (words, style) = match days {
                ..0 => ("expired".to_owned(), BAD),
                0..14 => (format!("ends in {days} days"), WARN),
                14.. => (format!("ends in {days} days"), PLAIN),
            };
            self.line(vec![(format!("{words:<20}"), style), (format!(" {:<10} {}", certificate.kind, certificate.file), PLAIN)]);
        }
    }

    fn audit(&mut self, audit: &Audit) {
        self.title("Audit trail");
        let state = if audit.is_ready { ("can be written".to_owned(), GOOD) } else { ("cannot be written".to_owned(), BAD) };
        let lost = (format!("{} lost", audit.lost), if audit.lost > 0 { BAD } else { PLAIN });
        self.line(vec![state, (format!(", {} records, ", audit.recorded), PLAIN), lost]);
        if let Some(repository) = &audit.repository {
            let trouble = match &repository.trouble {
                Some(trouble) => (format!("; {trouble}"), BAD),
                None => (String::new(), PLAIN),
            };
            let text = format!(
                "repository: {} posted, {} refused, {} bytes wait",
                repository.posted, repository.refused, repository.pending_bytes
            );
            self.line(vec![(text, PLAIN), trouble]);
        }
    }
}

impl Part {
    fn height(&self) -> u16 {
        match self {
            Self::Line(_) | Self::Bar(..) => 1,
            Self::Chart(_) => CHART,
        }
    }

    fn render(&self, area: Rect, buffer: &mut Buffer) {
        match self {
            Self::Line(line) => line.render(area, buffer),
            Self::Bar(label, share, style) => {
                // Not a number, as little as beyond both ends.
                let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
                let gauge = LineGauge::default().label(label.clone()).ratio(share).filled_symbol("█").unfilled_symbol("░");
                gauge.filled_style(*style).unfilled_style(QUIET).render(area, buffer);
            }
            // The last minute stands at the right edge; what has no room is the oldest.
            Self::Chart(numbers) => {
                let latest_first = numbers.iter().rev().copied();
                Sparkline::default().data(latest_first).direction(RenderDirection::RightToLeft).style(GOOD).render(area, buffer);
            }
        }
    }
}

fn token_words(token: &Token) -> (String, Style) {
    let left = seconds(token.left);
    match (token.is_valid, token.failures, token.next_in) {
        (true, 0, _) => (format!("{left} left of {}", seconds(token.life as f64)), GOOD),
        (true, failures, _) => (format!("{left} left, {failures} exchanges failed"), WARN),
        (false, 0, _) => ("none yet".to_owned(), BAD),
        (false, failures, Some(next)) => (format!("none, {failures} exchanges failed, next in {}", seconds(next)), BAD),
        (false, failures, None) => (format!("none, {failures} exchanges failed"), BAD),
    }
}

fn failed_parts(failed: usize) -> (String, Style) {
    match failed {
        0 => ("nothing failed".to_owned(), GOOD),
        1 => ("1 part failed".to_owned(), BAD),
        _ => (format!("{failed} parts failed"), BAD),
    }
}

/// As 4:05.
fn seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    format!("{}:{:02}", whole / 60, whole % 60)
}

fn milliseconds(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value < 10.0 => format!("{value:.1} ms"),
        Some(value) => format!("{value:.0} ms"),
    }
}

/// The time of day, in the time zone of this machine.
fn clock(at: i64) -> String {
    let time = Timestamp::from_second(at).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::system());
    time.strftime("%H:%M:%S").to_string()
}

/// A name that is no wider than its column.
fn cut(name: &str) -> String {
    name.chars().take(NAME).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status() -> Status {
        let site = json!({
            "name": "default", "in_flight": 3, "limit": 24, "waiting": 1,
            "token": {"is_valid": true, "left": 245.5, "life": 300, "is_exchanging": false, "next_in": 3.0, "failing_since": 5, "failures": 2, "kid": "k1"},
            "exchanges": [{"at": 9, "took_ms": 88, "failure": "401 invalid_client"}, {"at": 5, "took_ms": 90, "failure": null}],
            "nodes": [{"url": "http://openemr", "state": "ejected"}],
            "exports": [
                {"id": "3fa85f64", "level": "patient", "client": "lab", "asked_at": 1, "finished_at": null, "parts": 4, "ended": 1, "failed": 0},
                {"id": "4fa85f64", "level": "system", "client": "lab", "asked_at": 1, "finished_at": 2, "parts": 4, "ended": 4, "failed": 1},
            ],
        });
        let minute = |at: i64, requests: u64, p50: Option<f64>| json!({"at": at, "requests": requests, "refused": 1, "failed": 0, "p50": p50, "p95": p50, "p99": p50, "openemr_p95": null});
        serde_json::from_value(json!({
            "version": "1.2.3", "at": 1_000_000, "state": "degraded", "problems": [{"site": "default", "text": "something"}],
            "requests": 4, "connections": 5, "most_connections": 100, "rate": 1.25, "sites": [site],
            "minutes": [minute(0, 7, Some(12.0)), minute(60, 0, None)],
            "clients": [{"name": "a-client-whose-name-is-longer-than-its-column", "rate": 0.5, "requests": 7, "refused": 1, "failed": 0}],
            "reasons": [{"code": "queue_full", "count": 2}],
            "certificates": [{"kind": "listener", "file": "a.pem", "ends": 1_000_000 + 3 * 86_400}, {"kind": "ca", "file": "b.pem", "ends": 9}],
            "audit": {"is_ready": false, "recorded": 8, "lost": 2, "repository": {"posted": 1, "refused": 0, "pending_bytes": 70, "trouble": "unreachable"}},
        }))
        .unwrap()
    }

    #[test]
    fn everything_is_on_the_sheet() {
        let text = Sheet::of(&status()).text(120);
        for part in [
            "openemr-gateway 1.2.3  DEGRADED",
            "1.2 requests a second, 4 being answered, 5 of 100 connections",
            "! default: something",
            "4:05 left, 2 exchanges failed",
            "3 of 24 at OpenEMR, 1 waiting",
            "ejected   http://openemr",
            "401 invalid_client",
            "7 requests, 2 refused with 4xx, 0 failed with 5xx",
            "half within 12 ms, 95 % within 12 ms, 99 % within 12 ms; OpenEMR 95 % within –",
            "a-client-whose-name-is-longe      0.5          7        1        0",
            "queue_full",
            "default 3fa85f64 (patient), for lab",
            "1 part failed",
            "ends in 3 days       listener   a.pem",
            "expired              ca         b.pem",
            "cannot be written, 8 records, 2 lost",
            "repository: 1 posted, 0 refused, 70 bytes wait; unreachable",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(text.contains('█') && text.contains('░'), "{text}");
    }

    #[test]
    fn it_fits_any_screen_and_scrolls_to_its_end() {
        let sheet = Sheet::of(&status());
        for (width, height) in [(0, 0), (1, 1), (20, 5), (200, 100)] {
            let area = Rect::new(0, 0, width, height);
            let mut screen = Buffer::empty(area);
            let top = sheet.draw(area, &mut screen, u16::MAX, Some("lost\n  try again"));
            assert!(height < 100 || top == 0, "{top}");
            assert!(sheet.text(width).lines().all(|line| line.chars().count() <= usize::from(width)));
        }
        let area = Rect::new(0, 0, 80, 10);
        let mut screen = Buffer::empty(area);
        assert!(sheet.draw(area, &mut screen, u16::MAX, None) > 0);
        let text: String = screen.content().iter().map(ratatui::buffer::Cell::symbol).collect();
        assert!(text.contains("bytes wait") && text.contains("q leaves"), "{text}");
    }
}
