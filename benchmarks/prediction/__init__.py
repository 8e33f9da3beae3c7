"""Prediction of response times under the protocol of WS-DREAM's benchmark."""
