//! Parts of pages, one file each.

pub mod banners;
pub mod code_field;
pub mod delete_dialog;
pub mod dialog;
pub mod explanation;
pub mod frame;
pub mod icon;
pub mod menu;
pub mod phase_pill;
pub mod preview_pane;
pub mod project;
pub mod prose;
pub mod signed;
pub mod splitter;
pub mod stage_list;
pub mod status_bar;
pub mod terminal;
pub mod terminal_pane;
pub mod toast;
pub mod when;
