//! Tiny configurations, golden loader, tensor comparison, scratch folders. Only for tests.
