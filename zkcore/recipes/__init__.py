"""What people build on a coordination service, as coroutines that await nothing but a Port."""
