//! A wholesaler's order book.
