"""The sparse U-Net, the query decoder, and the two put together."""
