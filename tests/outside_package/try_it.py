from sklearn.datasets import load_breast_cancer

import gbtune

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
result = gbtune.tune(X, y, family="histgb", n_trials=4, progress=False)
print(result)
print(result.predict(X[:5]))
