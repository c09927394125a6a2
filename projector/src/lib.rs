//! Events to rows: live projection, rebuild, provisioning.
