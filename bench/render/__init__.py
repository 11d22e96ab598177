"""Tables, images and pages in the formats that people read. Knows nothing about the benchmark."""
