//! SQLite store: chats as message trees, pictures, runs; migrations; full-text search.
