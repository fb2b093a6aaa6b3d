//! The layers that ARCHITECTURE.md draws: one fenced block `layers`, with the packages' names at the beginning of a line and
//! their modules below, from the top down.
//!
//! ```text
//! package-name
//!   upper::module         # a note
//!   > lower, beside
//! ```
//!
//! A module belongs to the layer of the longest name that leads to it.

/// The layers of one package, from the top down. Several modules may stand in one layer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layers {
    pub(crate) package: String,
    pub(crate) layers: Vec<Vec<String>>,
}

impl Layers {
    /// Reads the block of a document.
    ///
    /// # Errors
    ///
    /// If the document has no such block or more than one, or the block has another form.
    pub(crate) fn read(document: &str) -> Result<Vec<Self>, String> {
        let mut blocks = document.split("\n```layers\n").skip(1);
        let (Some(block), None) = (blocks.next(), blocks.next()) else {
            return Err("there is not one block `layers`".into());
        };
        let (block, _) = block.split_once("\n```").ok_or("the block `layers` is not closed")?;
        let mut found: Vec<(String, String)> = Vec::new();
        for line in block.lines() {
            let line = line.split('#').next().unwrap_or_default().trim_end();
            match (line.strip_prefix(' '), found.last_mut()) {
                _ if line.is_empty() => {}
                (None, _) => found.push((line.to_owned(), String::new())),
                (Some(rest), Some((_, modules))) => modules.push_str(rest.trim_start()),
                (Some(_), None) => return Err(format!("no package stands before `{line}`")),
            }
        }
        let layers = |modules: &str| {
            modules
                .split('>')
                .map(|layer| layer.split(',').map(|name| name.trim().to_owned()).collect())
                .collect()
        };
        Ok(found
            .iter()
            .map(|(package, modules)| Self { package: package.clone(), layers: layers(modules) })
            .collect())
    }

    /// The layer of a module, counted from the top; `None` if it is in no layer.
    pub(crate) fn of(&self, module: &[String]) -> Option<usize> {
        let mut best: Option<(usize, usize)> = None;
        for (at, layer) in self.layers.iter().enumerate() {
            for name in layer {
                let name: Vec<&str> = name.split("::").collect();
                let leads =
                    name.len() <= module.len() && name.iter().zip(module).all(|(name, part)| name == part);
                if leads && best.is_none_or(|(length, _)| name.len() > length) {
                    best = Some((name.len(), at));
                }
            }
        }
        best.map(|(_, at)| at)
    }

    /// The names in a layer.
    pub(crate) fn name(&self, layer: usize) -> String {
        self.layers[layer].join(", ")
    }
}
