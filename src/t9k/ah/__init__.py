"""Records of TensorStack Asset Hub, enough to be the input or output of a run."""
