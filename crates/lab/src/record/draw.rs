//! The picture: a lane for each process, time from left to right, an arrow for each item.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::{Actor, Received, Wait};
use crate::pairs::{Pair, Role};

/// The one style of the guide's pictures.
const STYLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/images/style.css"));

const WIDTH: f64 = 800.0;
/// Where time begins and ends.
const LEFT: f64 = 120.0;
const RIGHT: f64 = 772.0;
/// The middle of the first lane, and from one lane to the next.
const FIRST_LANE: f64 = 84.0;
const LANES: f64 = 118.0;
/// Half of a lane's height, where somebody waits or works; and where it merely runs.
const HALF: f64 = 15.0;
const THIN: f64 = 5.0;
/// An item's box.
const ITEM: (f64, f64) = (28.0, 17.0);
/// How wide a letter of a note is, rather too wide than too narrow.
const LETTER: f64 = 7.2;

/// Draws a recorded run.
pub fn svg(pair: &Pair, title: &str, actors: &[Actor]) -> String {
    let lanes = lanes(actors);
    let end = actors.iter().map(|a| a.end).max().unwrap_or_default().max(Duration::from_millis(1));
    let picture = Picture { pair, actors, lanes, end, x_per_s: (RIGHT - LEFT) / end.as_secs_f64() };
    picture.draw(title)
}

/// Which lane each process has: producers above the consumer, but a second one below it.
fn lanes(actors: &[Actor]) -> Vec<usize> {
    let producers: Vec<usize> = (0..actors.len()).filter(|i| actors[*i].role == Role::Producer).collect();
    let consumers = (0..actors.len()).filter(|i| actors[*i].role == Role::Consumer);
    let first = producers.iter().copied().take(1);
    let order: Vec<usize> = first.chain(consumers).chain(producers.iter().copied().skip(1)).collect();
    (0..actors.len()).map(|who| order.iter().position(|o| *o == who).expect("each has a lane")).collect()
}

struct Picture<'a> {
    pair: &'a Pair,
    actors: &'a [Actor],
    lanes: Vec<usize>,
    end: Duration,
    x_per_s: f64,
}

impl Picture<'_> {
    fn x(&self, time: Duration) -> f64 {
        LEFT + time.as_secs_f64() * self.x_per_s
    }

    fn y(&self, who: usize) -> f64 {
        FIRST_LANE + LANES * self.lanes[who] as f64
    }

    fn draw(&self, title: &str) -> String {
        let axis = FIRST_LANE + LANES * (self.actors.len() - 1) as f64 + 50.0;
        let height = axis + 68.0 + 20.0 * self.actors.len() as f64;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
             <title>{}</title>\n<desc>{}</desc>\n<style>{STYLE}</style>\n<defs>\n",
            escaped(title),
            escaped(&self.in_words())
        );
        for role in [Role::Producer, Role::Consumer] {
            let name = role.name();
            let _ = writeln!(
                svg,
                "<marker id=\"tip-{name}\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" \
                 markerHeight=\"7\" orient=\"auto\"><path class=\"head {name}\" d=\"M0 0 10 5 0 10z\"/></marker>"
            );
        }
        let _ = writeln!(svg, "</defs>");
        let _ = writeln!(
            svg,
            "<rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"12\"/>",
            WIDTH - 1.0,
            height - 1.0
        );
        let _ = writeln!(svg, "<text class=\"title\" x=\"24\" y=\"36\">{}</text>", escaped(title));
        self.axis(&mut svg, axis);
        for who in 0..self.actors.len() {
            self.lane(&mut svg, who);
        }
        self.items(&mut svg);
        let mut order: Vec<usize> = (0..self.actors.len()).collect();
        order.sort_by_key(|who| self.lanes[*who]);
        for (row, who) in order.into_iter().enumerate() {
            let actor = &self.actors[who];
            let y = axis + 46.0 + 20.0 * row as f64;
            let dashes = if actor.args.is_empty() { "" } else { " -- " };
            let (binary, args) = (self.pair.binary(actor.role), actor.args.join(" "));
            let _ = writeln!(
                svg,
                "<text class=\"code\" x=\"24\" y=\"{y}\">$ cargo run --bin {binary}{dashes}{}</text>",
                escaped(&args)
            );
        }
        let _ = writeln!(
            svg,
            "<text class=\"note\" x=\"24\" y=\"{}\">Dashed: it waits, and says for what. Box: it works on an item \
             (--delay). Thin: it runs, or pauses by itself (--interval).</text>",
            height - 18.0
        );
        svg + "</svg>\n"
    }

    /// The axis below, with lines up through the lanes.
    fn axis(&self, svg: &mut String, y: f64) {
        let seconds = self.end.as_secs_f64();
        let step = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0].into_iter().find(|s| seconds / s <= 9.0);
        let step = step.unwrap_or(60.0);
        let _ = writeln!(svg, "<path class=\"line\" d=\"M{LEFT} {y}H{RIGHT}\"/>");
        for tick in 0..=(seconds / step) as u32 {
            let time = f64::from(tick) * step;
            let x = LEFT + time * self.x_per_s;
            let label = if tick == 0 { "0".into() } else { format!("{} s", (time * 10.0).round() / 10.0) };
            let _ = writeln!(svg, "<path class=\"line\" d=\"M{x:.1} {y}v5\"/>");
            let _ =
                writeln!(svg, "<text class=\"note middle\" x=\"{x:.1}\" y=\"{}\">{label}</text>", y + 19.0);
        }
    }

    /// A process: who it is, how long it ran, when it waited or worked.
    fn lane(&self, svg: &mut String, who: usize) {
        let (actor, y, role) = (&self.actors[who], self.y(who), self.actors[who].role.name());
        let _ = writeln!(svg, "<text class=\"label {role}\" x=\"24\" y=\"{:.1}\">{role}</text>", y - 2.0);
        let _ = writeln!(svg, "<text class=\"note\" x=\"24\" y=\"{:.1}\">pid {}</text>", y + 14.0, actor.pid);
        if self.pair.method == "rpc" {
            let called = if actor.role == Role::Producer { "client" } else { "server" };
            let _ = writeln!(svg, "<text class=\"note\" x=\"24\" y=\"{:.1}\">{called}</text>", y + 30.0);
        }
        self.bar(svg, role, (actor.start, actor.end), y, THIN);
        for (from, to, label) in self.works(actor) {
            self.bar(svg, role, (from, to), y, HALF);
            self.label(svg, role, (from, to), y, &[&label]);
        }
        for wait in &actor.waits {
            self.bar(svg, "wait", (wait.from, wait.to), y, HALF);
            let short = wait.why.split([';', '(']).next().unwrap_or_default();
            let cut = |at: &str| short.split(at).next().unwrap_or_default().trim();
            let bare = short.trim().trim_end_matches(|c: char| c.is_ascii_digit() || c == '/').trim_end();
            let words = [short.trim(), cut(" and "), cut(" from "), cut(" yet"), bare, cut(" has ")];
            self.label(svg, "wait", (wait.from, wait.to), y, &words);
        }
        if actor.status != 0 {
            let x = self.x(actor.end);
            let text = format!("ended with {}", actor.status);
            let _ = writeln!(
                svg,
                "<text class=\"note error end\" x=\"{x:.1}\" y=\"{}\">{text}</text>",
                y - HALF - 4.0
            );
        }
    }

    /// What it spent on each item (`--delay`): until its next line at most.
    fn works(&self, actor: &Actor) -> Vec<(Duration, Duration, String)> {
        let Some(delay) = actor.told("--delay") else { return Vec::new() };
        let next = |i: usize| actor.received.get(i + 1).map_or(actor.end, |r| r.at);
        let work = |(i, r): (usize, &Received)| (r.at, (r.at + delay).min(next(i)), format!("#{}", r.seq));
        actor.received.iter().enumerate().map(work).collect()
    }

    fn bar(&self, svg: &mut String, class: &str, (from, to): (Duration, Duration), y: f64, half: f64) {
        let (x, width) = (self.x(from), self.x(to.min(self.end)) - self.x(from));
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\"/>",
            y - half,
            width.max(1.0),
            2.0 * half
        );
    }

    /// Writes the longest of the words that fits into a bar, if one does.
    fn label(&self, svg: &mut String, class: &str, (from, to): (Duration, Duration), y: f64, words: &[&str]) {
        let (x, width) = (self.x(from), self.x(to.min(self.end)) - self.x(from));
        let fits = |word: &&&str| word.chars().count() as f64 * LETTER + 6.0 <= width;
        let Some(word) = words.iter().filter(|w| !w.is_empty()).find(fits) else { return };
        let _ = writeln!(
            svg,
            "<text class=\"note {class} middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x + width / 2.0,
            y + 4.5,
            escaped(word)
        );
    }

    /// The items: a box where it was sent, and an arrow to where it came.
    fn items(&self, svg: &mut String) {
        let mut free_from: BTreeMap<usize, f64> = BTreeMap::new();
        let mut boxes = String::new();
        for (consumer, actor) in self.actors.iter().enumerate() {
            for received in &actor.received {
                let Some(producer) = self.actors.iter().position(|a| a.pid == received.from) else {
                    continue;
                };
                let down = if self.lanes[producer] < self.lanes[consumer] { 1.0 } else { -1.0 };
                let (sent, answered) = self.sent(producer, received);
                let at = self.x(sent);
                // Boxes that would cover each other stand side by side.
                let middle = at.max(*free_from.get(&producer).unwrap_or(&0.0));
                free_from.insert(producer, middle + ITEM.0 + 2.0);
                let top = self.y(producer) + down * (HALF + 3.0);
                let (from, to) = (top + down * ITEM.1, self.y(consumer) - down * (HALF + 1.0));
                let _ = writeln!(
                    svg,
                    "<path class=\"arrow producer\" d=\"M{middle:.1} {from:.1}L{:.1} {to:.1}\" \
                     marker-end=\"url(#tip-producer)\"/>",
                    self.x(received.at)
                );
                if let Some(answered) = answered {
                    // From the server's lane back up to the client's.
                    let _ = writeln!(
                        svg,
                        "<path class=\"arrow consumer\" d=\"M{0:.1} {to:.1}V{1:.1}\" \
                         marker-end=\"url(#tip-consumer)\"/>",
                        self.x(answered),
                        self.y(producer) + down * (HALF + 1.0)
                    );
                }
                let _ = writeln!(
                    boxes,
                    "<rect class=\"item\" x=\"{:.1}\" y=\"{:.1}\" width=\"{}\" height=\"{}\" rx=\"4\"/>\n\
                     <text class=\"note item middle\" x=\"{middle:.1}\" y=\"{:.1}\">#{}</text>",
                    middle - ITEM.0 / 2.0,
                    top.min(top + down * ITEM.1),
                    ITEM.0,
                    ITEM.1,
                    top + down * ITEM.1 / 2.0 + 4.5,
                    received.seq
                );
            }
        }
        svg.push_str(&boxes);
    }

    /// When an item was sent; and for a call, when its answer came, which is what the client's line says.
    fn sent(&self, producer: usize, received: &Received) -> (Duration, Option<Duration>) {
        let made = received.at.saturating_sub(received.after);
        let said = self.actors[producer].sent.iter().find(|(seq, _)| *seq == received.seq).map(|(_, at)| *at);
        if self.pair.method == "rpc" {
            return (made, said);
        }
        // A line can come late, and long times on the way are printed rounded: each is used where it is exact.
        let exact = if received.after < Duration::from_millis(1) { made } else { said.unwrap_or(made) };
        (exact.min(received.at), None)
    }

    /// For who cannot see it.
    fn in_words(&self) -> String {
        let mut words =
            format!("A recorded run of {} seconds.", (self.end.as_secs_f64() * 10.0).round() / 10.0);
        for actor in self.actors {
            let s = |time: Duration| format!("{:.2} s", time.as_secs_f64());
            let _ = write!(
                words,
                " The {} (pid {}) runs from {} to {}",
                actor.role.name(),
                actor.pid,
                s(actor.start),
                s(actor.end)
            );
            let waited = |wait: &Wait| format!("from {} to {} ({})", s(wait.from), s(wait.to), wait.why);
            let waits: Vec<_> = actor.waits.iter().map(waited).collect();
            if !waits.is_empty() {
                let _ = write!(words, "; it waits {}", waits.join(", "));
            }
            let came: Vec<_> = actor.received.iter().map(|r| format!("#{} at {}", r.seq, s(r.at))).collect();
            if !came.is_empty() {
                let _ = write!(words, "; it receives {}", came.join(", "));
            }
            words.push('.');
        }
        words
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
