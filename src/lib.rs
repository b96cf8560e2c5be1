pub mod route;

pub mod cost;
