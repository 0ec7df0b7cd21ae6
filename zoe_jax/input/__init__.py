"""Online data: what a prepared data set holds, and the pipeline from its records to batches."""
