"""What brings zkcore and other libraries together. Each module says which extra it needs; nothing here is imported
unasked."""
