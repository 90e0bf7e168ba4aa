//! The table at the end.

/// What was measured, what it should be, and whether it is.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

struct Row {
    what: String,
    measured: String,
    target: String,
    met: Option<bool>,
}

impl Report {
    /// A figure with a target.
    pub fn judge(&mut self, what: &str, measured: String, target: &str, met: bool) {
        self.add(what, measured, target, Some(met));
    }

    /// A figure that has no target of its own.
    pub fn note(&mut self, what: &str, measured: String) {
        self.add(what, measured, "", None);
    }

    fn add(&mut self, what: &str, measured: String, target: &str, met: Option<bool>) {
        eprintln!("{what}: {measured}");
        let (what, target) = (what.to_owned(), target.to_owned());
        self.rows.push(Row {
            what,
            measured,
            target,
            met,
        });
    }

    /// Prints everything as a Markdown table.
    pub fn print(&self) {
        println!("| what | measured | target | met |\n|---|---|---|---|");
        for row in &self.rows {
            let met = match row.met {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "",
            };
            println!(
                "| {} | {} | {} | {met} |",
                row.what, row.measured, row.target
            );
        }
    }
}
