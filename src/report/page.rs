//! The shell of every page: one file that opens from disk with the network off and runs no script.
//!
//! Figures, tables and sections are made here, so that the pages of all labs look and print alike.

use super::html::{Html, ToHtml};
use serde::Serialize;

/// No script runs, whatever the page holds; nothing is loaded, nothing is sent.
pub const CSP: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The style that every page begins with.
const STYLE: &str = include_str!("page.css");

/// A page in the making.
#[derive(Debug)]
pub struct Page {
    title: String,
    style: String,
    header: Html,
    contents: Vec<(String, String)>,
    body: Html,
}

impl Page {
    /// An empty page. `style` is what this lab alone needs; often nothing.
    #[must_use]
    pub fn new(title: &str, style: &str) -> Self {
        Self {
            title: title.to_owned(),
            style: style.to_owned(),
            header: Html::new(),
            contents: Vec::new(),
            body: Html::new(),
        }
    }

    /// What stands above everything: the lab's question, the answer, what else is to be known
    /// first, and the facts of the run.
    pub fn header(&mut self, question: &str, answer: &Html, more: &Html, facts: &[String]) {
        put!(self.header, "<header><h1>{}</h1>\n{}{}", question, answer, more);
        let facts = facts.iter().map(|fact| html!("<span><bdi>{}</bdi></span>", fact));
        self.header.raw("<p class=\"facts\">");
        self.header.join(facts, "\n");
        self.header.raw("</p>\n</header>\n");
    }

    /// Adds a section, and its title to the contents.
    pub fn section(&mut self, title: &str, body: &Html) {
        let id = self.id(title);
        put!(self.body, "<section id=\"{}\"><h2>{}</h2>\n{}</section>\n", id, title, body);
        self.contents.push((id, title.to_owned()));
    }

    /// Adds a heading above the sections that follow.
    pub fn part(&mut self, title: &str) {
        let id = self.id(title);
        put!(self.body, "<h1 class=\"part\" id=\"{}\">{}</h1>\n", id, title);
        self.contents.push((id, title.to_owned()));
    }

    /// Adds how the page is read, and how the run is repeated.
    pub fn reading(&mut self, words: &Html, command: &str, same: &str) {
        self.section("How to read this", words);
        let same = if same.is_empty() { Html::new() } else { html!("<p>{}</p>\n", same) };
        self.section("Run it again", &html!("<pre>{}</pre>\n{}", command, same));
    }

    /// The whole page with all its figures as JSON at its end.
    #[must_use]
    pub fn finish(self, data: &impl Serialize) -> String {
        let mut out = Html::literal("<!doctype html>\n<html lang=\"en\"><head>");
        out.raw("<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" ");
        // A policy holds from here on, so it stands before everything that it is to stop.
        out.raw("content=\"");
        out.raw(CSP);
        out.raw("\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        put!(out, "<title>{}</title>\n<style>", self.title);
        out.raw(STYLE);
        out.style(&self.style);
        out.raw("</style></head><body>\n");
        out.push(&self.header);
        if self.contents.len() > 2 {
            out.raw("<nav aria-label=\"contents\">");
            let link = |(id, title)| html!("<a href=\"#{}\">{}</a>", id, title);
            out.join(self.contents.into_iter().map(link), "\n");
            out.raw("</nav>\n");
        }
        out.raw("<main>\n");
        out.push(&self.body);
        out.raw("</main>\n");
        out.data("result", data);
        out.raw("</body></html>\n");
        out.into_string()
    }

    /// A name for a link within the page, unlike all others.
    fn id(&self, title: &str) -> String {
        let mut id = String::new();
        for c in title.to_lowercase().chars() {
            match c {
                'a'..='z' | '0'..='9' => id.push(c),
                _ if !id.ends_with('-') && !id.is_empty() => id.push('-'),
                _ => {}
            }
        }
        let id = id.trim_end_matches('-').to_owned();
        let taken = |id: &String| self.contents.iter().any(|(other, _)| other == id);
        if !taken(&id) {
            return id;
        }
        let mut ids = (2_u32..).map(|number| format!("{id}-{number}"));
        ids.find(|id| !taken(id)).expect("there are more numbers than titles")
    }
}

/// A drawing with its caption; `note` stands smaller beside it.
#[must_use]
pub fn figure(caption: impl ToHtml, note: impl ToHtml, svg: &Html) -> Html {
    html!("<figure><figcaption>{} <small>{}</small></figcaption>{}</figure>\n", caption, note, svg)
}

/// A drawing that is as wide as it is and scrolls on a narrow screen.
#[must_use]
pub fn wide_figure(svg: &Html) -> Html {
    html!("<div class=\"scroll\"><figure class=\"wide\">{}</figure></div>\n", svg)
}

/// Figures beside each other.
#[must_use]
pub fn panels(figures: impl IntoIterator<Item = Html>) -> Html {
    let mut out = Html::literal("<div class=\"panels\">\n");
    out.join(figures, "");
    out.raw("</div>\n");
    out
}

/// A paragraph of small print.
#[must_use]
pub fn note(text: impl ToHtml) -> Html {
    html!("<p class=\"note\">{}</p>\n", text)
}

/// A table that scrolls by itself where it is too wide.
#[derive(Debug)]
pub struct Table(Html);

impl Table {
    /// Its class, and the heads of its columns.
    #[must_use]
    pub fn new<H: ToHtml>(class: &str, heads: impl IntoIterator<Item = H>) -> Self {
        let mut out = html!("<div class=\"scroll\"><table class=\"{}\"><thead><tr>", class);
        out.join(heads.into_iter().map(|head| html!("<th>{}</th>", head)), "");
        out.raw("</tr></thead><tbody>\n");
        Self(out)
    }

    /// Adds a row of cells, each with its class.
    pub fn row<C: ToHtml>(
        &mut self,
        class: &str,
        cells: impl IntoIterator<Item = (&'static str, C)>,
    ) {
        put!(self.0, "<tr class=\"{}\">", class);
        for (class, cell) in cells {
            match class {
                "" => put!(self.0, "<td>{}</td>", cell),
                _ => put!(self.0, "<td class=\"{}\">{}</td>", class, cell),
            }
        }
        self.0.raw("</tr>\n");
    }

    /// Adds a line across all columns.
    pub fn across(&mut self, columns: u32, text: &str) {
        put!(self.0, "<tr><th colspan=\"{}\">{}</th></tr>\n", columns, text);
    }

    /// The whole table.
    #[must_use]
    pub fn finish(mut self) -> Html {
        self.0.raw("</tbody></table></div>\n");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_run_holds_is_markup() {
        let evil = "</style></script><script>alert(1)</script>";
        let mut page = Page::new(evil, evil);
        page.header(evil, &html!("{}", evil), &Html::new(), &[evil.to_owned()]);
        page.section(evil, &html!("{}", evil));
        page.part(evil);
        page.reading(&Html::new(), evil, evil);
        let mut table = Table::new(evil, [evil]);
        table.row(evil, [("", evil)]);
        page.section("table", &table.finish());
        let page = page.finish(&[evil]);
        assert_eq!(page.matches("<script").count(), 1, "{page}");
        assert_eq!(page.matches("</script").count(), 1, "{page}");
        assert_eq!(page.matches("</style").count(), 1, "{page}");
        assert!(!CSP.contains("script-src"), "what default-src forbids is not allowed again");
    }

    #[test]
    fn every_title_is_linked_once() {
        let mut page = Page::new("x", "");
        for title in ["One & two", "One & two", "Three"] {
            page.section(title, &Html::new());
        }
        let page = page.finish(&());
        for id in ["one-two", "one-two-2", "three"] {
            assert_eq!(page.matches(&format!("href=\"#{id}\"")).count(), 1, "{page}");
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{page}");
        }
    }
}
