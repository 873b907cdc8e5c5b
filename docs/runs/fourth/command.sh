velo-meta-train laptop --num-steps 342 --optimizer.basis elementwise --optimizer.decay cosine \
  --estimator.parts bank hypernetwork/controls hypernetwork/log_step
