"""Many runs of one recipe: what varies, the runs, the table and the picture of what came out."""
