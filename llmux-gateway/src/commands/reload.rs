//! `llmux reload`: asks a running server to read its configuration file again.

use llmux_terminal::Result;
use reqwest::Method;

use super::{admin_client::AdminClient, cli::Reload, plugin::forced};

/// Runs the command.
pub(crate) async fn run(options: Reload) -> Result<()> {
    let admin = AdminClient::new(&options.admin, options.token_file.as_deref(), options.admin_timeout)?;
    let (_, answer) =
        admin.send_to(Method::POST, &["admin", "reload"], forced(options.force).as_ref()).await?;
    if options.json {
        return llmux_terminal::print_json(&answer);
    }
    let list = |member: &str| answer[member].as_array().map(Vec::as_slice).unwrap_or_default().to_vec();
    let mut text = String::new();
    for line in list("changed") {
        let word = |member: &str| line[member].as_str().unwrap_or_default().to_owned();
        let members = line["members"].as_array().map(Vec::as_slice).unwrap_or_default();
        let members: Vec<_> = members.iter().filter_map(|member| member.as_str()).collect();
        let members = if members.is_empty() { String::new() } else { format!(" ({})", members.join(", ")) };
        let name = line["name"].as_str().map(|name| format!(" `{name}`")).unwrap_or_default();
        text += &format!("{}{name} {}{members}\n", word("what"), word("change"));
    }
    for undone in list("undone") {
        text += &format!("{}\n", undone["message"].as_str().unwrap_or_default());
    }
    for member in list("needs_restart") {
        text += &format!("{} takes effect after a restart\n", member.as_str().unwrap_or_default());
    }
    if text.is_empty() {
        text += "nothing is different\n";
    }
    llmux_terminal::print(&text)
}
