"""Tune both boosters on real data, and look at the studies in MLflow: ``python docs/quickstart.py``."""

from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import train_test_split

from gbtune import tune_lgbm, tune_xgb


def main() -> None:
    """Tune a classifier with XGBoost and a regressor with LightGBM."""
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    result = tune_xgb(X_train, y_train, n_trials=25, register="breast-cancer")
    print(result)
    print(f"  accuracy on {len(X_test)} held-out rows: {(result.predict(X_test) == y_test).mean():.3f}\n")

    X, y = load_diabetes(return_X_y=True, as_frame=True)
    result = tune_lgbm(X, y, n_trials=25)
    print(result)


if __name__ == "__main__":
    main()
