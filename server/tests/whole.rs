//! The whole server: every port of it, over one directory, through restarts and kills.

#[cfg(test)]
#[path = "whole/client.rs"]
mod client;
#[cfg(test)]
#[path = "whole/coming.rs"]
mod coming;
#[cfg(test)]
#[path = "whole/drain.rs"]
mod drain;
#[cfg(test)]
#[path = "whole/grants.rs"]
mod grants;
#[cfg(test)]
#[path = "whole/killed.rs"]
mod killed;
#[cfg(test)]
#[path = "whole/line.rs"]
mod line;
#[cfg(test)]
#[path = "whole/process.rs"]
mod process;
#[cfg(test)]
#[path = "whole/rights.rs"]
mod rights;
#[cfg(test)]
#[path = "whole/upkeep.rs"]
mod upkeep;
#[cfg(test)]
#[path = "whole/upstreams.rs"]
mod upstreams;
#[cfg(test)]
#[path = "whole/witnesses.rs"]
mod witnesses;
